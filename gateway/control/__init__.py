"""The control plane: configuration, polling of endpoints, and what workers need to know."""
