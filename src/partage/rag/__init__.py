"""The RAG service: documents in, answers with citations out.

May import: client. Start reading: app.py, then answer.py.
"""
