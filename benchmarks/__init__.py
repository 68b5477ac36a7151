"""Benchmarks, each with its reference in the same run. `make bench` runs all of them."""
