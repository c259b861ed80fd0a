"""One module per backend protocol: sends a call to an endpoint."""
