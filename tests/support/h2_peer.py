"""python-hyper's `h2` as the other end: an independent implementation to hold ours against."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from transcoding.http2 import Connection
from transcoding.http2.headers import Pair


@dataclass
class Seen:
    """What h2 received on one stream."""

    headers: list[list[Pair]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None


class H2Peer:
    """One end of a connection in h2. It acknowledges DATA at once, while `acknowledges`, and keeps what waits for a
    window. Each DATA frame that it sends has `padding` bytes of padding, and `piece` bytes of data at most."""

    def __init__(self, client: bool) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.streams: dict[int, Seen] = defaultdict(Seen)
        self.queues: dict[int, tuple[bytes, list[Pair] | None]] = {}
        self.terminated: int | None = None
        self.acknowledges = True
        self.pongs = 0
        self.padding: int | None = None
        self.piece = 2**24

    def send_body(self, stream: int, body: bytes, trailers: list[Pair] | None) -> None:
        """Send DATA as the windows allow and the rest later, then trailers or END_STREAM."""
        self.queues[stream] = body, trailers
        self.flush()

    def flush(self) -> None:
        """Send what the windows allow now."""
        for stream, (body, trailers) in [*self.queues.items()]:
            left = self._send(stream, body)
            if left:
                self.queues[stream] = left, trailers
                continue
            del self.queues[stream]
            if trailers is None:
                self.connection.end_stream(stream)
            else:
                self.connection.send_headers(stream, trailers, end_stream=True)

    def _send(self, stream: int, body: bytes) -> bytes:
        overhead = 0 if self.padding is None else 1 + self.padding
        while body:
            window = self.connection.local_flow_control_window(stream)
            room = min(window, self.connection.max_outbound_frame_size) - overhead
            size = min(room, self.piece, len(body))
            if size <= 0:
                break
            self.connection.send_data(stream, body[:size], pad_length=self.padding)
            body = body[size:]
        return body

    def take(self) -> bytes:
        return self.connection.data_to_send()

    def receive(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            self._event(event)
        self.flush()

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.streams[event.stream_id].headers.append([(bytes(name), bytes(value)) for name, value in event.headers])
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if self.acknowledges:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset = int(event.error_code)
            self.queues.pop(event.stream_id, None)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.terminated = int(event.error_code)


def exchange_with(peer: H2Peer, ours: Connection, chunk: int = 0) -> None:
    """Carry bytes both ways until both are silent."""
    while True:
        data = peer.take()
        for at in range(0, len(data), chunk or max(len(data), 1)):
            ours.receive(data[at : at + (chunk or len(data))])
        back = b"".join(ours.outgoing)
        ours.outgoing.clear()
        if not data and not back:
            return
        if back:
            peer.receive(back)
