"""Closing a listening port without resetting anybody.

The kernel completes handshakes by itself. When a listening socket closes it resets the connections that nobody accepted
yet, and those whose handshake is half done: their clients believe to be connected. So a port first stops to take new
handshakes, accepts what has been completed, and is closed then.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct

log = logging.getLogger(__name__)

SO_ATTACH_FILTER = 26
TCP_INFO_BYTES = 104
TCP_INFO_UNACKED = 24

# Classic BPF on the TCP header (socket(7), SO_ATTACH_FILTER): drop what has SYN set, bit 1 of byte 13; pass the rest.
NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def refuse_handshakes(listening: socket.socket) -> None:
    """Ignore new SYNs, while handshakes that began complete. A client that is ignored tries again a second later, and
    finds the port closed or another process there. Where there are no such filters the port stays as it is."""
    program = ctypes.create_string_buffer(NO_SYN, len(NO_SYN))
    try:
        listening.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(NO_SYN) // 8, ctypes.addressof(program))
        )
    except OSError as error:
        log.warning("cannot stop handshakes before closing the port: %s", error)


def unaccepted(listening: socket.socket) -> int:
    """Connections that the kernel has made and nobody accepted yet: for a listening socket `tcpi_unacked` is the length
    of its accept queue (`tcp_get_info` in Linux)."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    return int(struct.unpack_from("I", info, TCP_INFO_UNACKED)[0])
