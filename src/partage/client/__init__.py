"""The async clients: of the hub's own API, used by every service and command, and of the two services.

May import: domain, errors. Start reading: hub_client.py (the hub), services.py (documents, rag).
"""
