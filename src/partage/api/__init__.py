"""Dialects in, domain out: Ollama, OpenAI, Anthropic, admin.

May import: hub. Start reading: app.py (the routes), then ollama.py.
"""
