"""Rules that read field values off a page: dates, amounts, totals, parties, labelled values. No models, no shop names.

May import: page, layout. Start reading: found.py, then labels.py.
"""
