"""Bytes from clients to calls, and replies back: the listeners of a worker."""
