"""HTTP/2 (RFC 9113) for servers and clients, sans-I/O: bytes in, calls on receivers and bytes out."""
