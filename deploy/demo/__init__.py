"""The demo: two real Tritons, the gateway in front of them, one call of each kind, and a door that asks who calls."""
