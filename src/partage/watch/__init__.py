"""What is going on and what went on: metrics, readings kept for a day, alerts, containers.

It looks and tells; it never decides. May import: policy's events and views, device, domain, errors.
Start reading: metrics.py (counts what the hub does), sampler.py (reads the machine once a second), alerts.py.
"""
