"""Several valkey-servers that know each other: a cluster, and a master with a replica under a sentinel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from deploy.triton import free_ports
from tests.support.deadline import until
from tests.support.valkey import Valkey

SLOTS = 16384


@contextlib.contextmanager
def a_cluster(size: int = 2) -> Iterator[list[Valkey]]:
    """Primaries that share the slots evenly. One that is gone takes no other with it."""
    ports = free_ports(2 * size)
    with contextlib.ExitStack() as stack:
        members = [
            stack.enter_context(
                Valkey(
                    port=ports[2 * index],
                    cluster_enabled="yes",
                    cluster_port=str(ports[2 * index + 1]),
                    cluster_node_timeout="1000",
                    cluster_require_full_coverage="no",
                )
            )
            for index in range(size)
        ]
        for index, member in enumerate(members):
            first, last = SLOTS * index // size, SLOTS * (index + 1) // size - 1
            assert member.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)).startswith(b"+OK")
            member.ask("CLUSTER", "SET-CONFIG-EPOCH", str(index + 1))
        for index in range(1, size):
            members[0].ask("CLUSTER", "MEET", "127.0.0.1", str(ports[2 * index]), str(ports[2 * index + 1]))
        until(lambda: all(f"cluster_known_nodes:{size}".encode() in each.ask("CLUSTER", "INFO") for each in members))
        until(lambda: all(b"cluster_slots_assigned:16384" in each.ask("CLUSTER", "INFO") for each in members))
        until(lambda: all(b"cluster_state:ok" in each.ask("CLUSTER", "INFO") for each in members))
        yield members


@contextlib.contextmanager
def a_sentinel(service: str = "state") -> Iterator[tuple[Valkey, Valkey, Valkey]]:
    """A sentinel, the master and its replica. The sentinel takes a master that is silent for a second to be gone."""
    ports = free_ports(3)
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(Valkey(port=ports[0]))
        replica = stack.enter_context(
            Valkey(port=ports[1], replicaof=f"127.0.0.1 {ports[0]}", repl_diskless_sync_delay="0")
        )
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        sentinel = stack.enter_context(
            Valkey(
                port=ports[2],
                sentinel=(
                    f"sentinel monitor {service} 127.0.0.1 {ports[0]} 1\n"
                    f"sentinel down-after-milliseconds {service} 1000\n"
                    f"sentinel failover-timeout {service} 3000\n"
                ),
            )
        )
        until(lambda: b"num-slaves\r\n$1\r\n1" in sentinel.ask("SENTINEL", "MASTER", service), 30)
        yield sentinel, master, replica
