"""The demo: two real Tritons, the gateway in front of them, and one call of each kind."""
