"""The lint rules, one file per subject.

May import: the reading side of deploy/ (compose_file, dockerfile, variables ...). Each rule is a function over one
subject; its docstring is the explanation, its decorator names code, cure and source. all_rules.py lists the files.
"""
