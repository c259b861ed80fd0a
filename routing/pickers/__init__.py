"""One module per picker; the file name is its name in a pool's `pick`."""
