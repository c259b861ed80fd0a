"""Load generators: h2load where it is installed, and a small one of our own."""
