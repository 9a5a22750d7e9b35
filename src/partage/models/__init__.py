"""What a model is and where it comes from: names, store, sources, GGUF header, converters.

May import: domain, errors. Start reading: catalog.py (what can be had), then pull.py (how it gets here) and store.py
(where it lies). package.py and what it imports run in a child process (child.py), for they read foreign files.
"""
