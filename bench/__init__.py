"""Commands that measure the claims of the README; `make bench` runs them all."""
