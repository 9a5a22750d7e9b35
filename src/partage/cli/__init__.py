"""The commands, one file per group.

May import: everything. Start reading: main.py.
"""
