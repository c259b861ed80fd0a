"""The type of `state:` in a configuration file: where what gateways share is kept."""

from __future__ import annotations

from typing import Annotated

from config.fields import MIB, duration, size, text
from config.node import Node


class State(Node, frozen=True):
    """What gateways share: limits, cached answers, API keys. With `embedded` a gateway keeps it in a valkey-server of
    its own; several gateways share the Redis of a URL."""

    shorthand = "url"

    url: Annotated[str, text("Where it is kept", "store")] = "embedded"
    password_file: Annotated[str, text("A file with the password, read at each connection", "path")] | None = None
    password_env: Annotated[str, text("An environment variable with the password", "variable")] | None = None
    ca: Annotated[str, text("PEM file: who signs the store's certificate; none for the system's", "path")] | None = None
    certificate: Annotated[str, text("PEM file: our certificate, if the store wants one", "path")] | None = None
    key: Annotated[str, text("PEM file: the private key of our certificate", "path")] | None = None
    prefix: Annotated[str, text("What all names of keys begin with", "key_prefix")] = "penstock"
    timeout: Annotated[float, duration("How long a request waits for the store at most", 0.001, 10)] = 0.02
    connect_timeout: Annotated[float, duration("How long a connection to it may take", 0.05, 60)] = 1.0
    memory: Annotated[int, size("What the embedded store may hold", 8 * MIB)] = 256 * MIB
