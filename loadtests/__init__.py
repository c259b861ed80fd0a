"""Benchmarks: what a request costs through Penstock and through its peers, measured in the same run."""
