"""Partage: let many AI services share one or a few GPUs.

Start reading at docs/map.md ("I want to ... -> edit ...") and docs/request.md (one request, top to bottom).
"""

__version__ = "0.1.0"
