"""The document processor: POST /process reads pages and fields, with evidence for every value.

May import: client. Start reading: app.py, then process.py.
"""
