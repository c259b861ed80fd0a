"""The rows of the benchmark: what is sent, to which peers, and what is measured."""
