"""What the hardware says: devices and their memory, and who holds it.

May import: domain, errors. Start reading: host.py.
"""
