"""The live driver: turns the world into events for the policy and carries out its actions.

May import: policy, engine, device, models. Start reading: hub.py (admit and the loop), then ticket.py.
"""
