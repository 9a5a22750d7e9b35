"""The async client of the hub's own API, used by every service and command.

May import: domain, errors. Start reading: hub_client.py.
"""
