"""What runs inside an engine's child process. The only room that may import xllamacpp.

May import: nothing of ours. Start reading: __main__.py.
"""
