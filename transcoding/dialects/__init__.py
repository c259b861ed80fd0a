"""One module per wire format: pure functions between its bytes and the hub messages."""
