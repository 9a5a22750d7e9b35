"""One module per page: overview, models, chat, documents, ask; frame.py is what they share."""
