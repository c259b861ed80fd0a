"""What surrounds a running gateway: real Triton servers for development, demo models and the demo itself."""
