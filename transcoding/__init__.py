"""What do these bytes say? Wire formats and tensors, sans-I/O.

Rule 1: nothing here opens a socket, reads a clock, draws a random number or knows asyncio.
Rule 2: any bytes give a message or the format's own error (`GatewayError`, `ProtocolError`), and nothing else.
Rule 3: each format is one dialect between bytes and the hub messages of `transcoding.message`; there is
no translator per pair of formats.
"""
