"""Pure decisions: events in, actions out. No await, clock, log, random, file or socket.

May import: domain, errors. Start reading: scheduler.py (the order of checks), then state.py.
"""
