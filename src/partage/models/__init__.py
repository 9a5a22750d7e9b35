"""What a model is and where it comes from: names, store, sources, GGUF header, converters.

May import: domain, errors. Start reading: catalog.py (names), then pull.py.
"""
