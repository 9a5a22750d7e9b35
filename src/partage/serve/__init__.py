"""The composition roots: build each service from the configuration and run it; supervise all of them as one stack.

May import: everything below cli and demo. Start reading: hub_service.py, then stack.py.
"""
