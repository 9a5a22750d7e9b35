"""The same policy on virtual time: traces, machines, other schedulers, and a report.

May import: policy, journal_format, domain, errors. Start reading: run.py (one run), then peers.py (the others).
"""
