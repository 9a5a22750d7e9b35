"""python -m partage."""

from partage.cli.main import run

run()
