"""Deployment: what a compose file says about GPUs, what is wrong with it, and how to write one that is right.

May import: config, device, models, policy (the estimator), quantities, domain, errors. `partage lint` starts in lint.py
(rules/ holds one file per subject), `partage compose` in stack.py, `partage plan` in plan.py.
"""
