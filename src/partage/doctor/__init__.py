"""What is wrong with this machine, and the command that mends it: facts gathered once, checks that are pure.

May import: watch, device, client, config, journal_format, domain, errors. Start reading: finding.py, machine.py.
"""
