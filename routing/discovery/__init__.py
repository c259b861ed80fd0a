"""One module per way to find a pool's endpoints."""
