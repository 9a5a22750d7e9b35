"""One model server: start, stream, stop. llama.cpp as a child process, or an adopted remote server.

May import: domain, work, errors, clock, json_value. Start reading: base.py (the protocol), then llamacpp.py.
"""
