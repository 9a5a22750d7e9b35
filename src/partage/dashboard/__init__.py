"""The web page: memory, queues, residency, clients and alerts as they are now, and pages to try the services.

A customer of the HTTP APIs like any other: one poller asks the hub, every open page draws what it heard.
May import: client, config's nouns, domain, errors. Start reading: poller.py (what is asked), picture.py (what is drawn
from it), app.py (the pages).
"""
