"""The RMA demo: sample documents drawn from data, and the run that processes, chats and asks at once.

May import: client. Start reading: run.py; samples/draw.py for the papers.
"""
