"""Which store a configuration means, and where an embedded one is; what the supervisor needs to know, and no client."""

from __future__ import annotations

import os

import msgspec

from config.schema import Config, State
from gateway.rundir import RunDirectory
from policies import needs_state


def with_state(config: Config) -> Config:
    """The configuration with its store: `embedded` where nothing is said of it and some policy needs one."""
    if config.state is not None:
        return config
    chains = [*(each.policies for each in config.listen), *(each.policies for each in config.routes)]
    specs = [*config.policies.values(), *(spec for chain in chains for spec in chain)]
    needed = any(needs_state(spec, config.key_file) for spec in specs)
    return msgspec.structs.replace(config, state=State()) if needed else config


def is_embedded(config: Config) -> bool:
    """Whether this gateway runs its own store."""
    return config.state is not None and config.state.url == "embedded"


def data_directory(config: Config, directory: RunDirectory) -> str:
    """Where an embedded store keeps its data: for good if there is a `state_directory`, else as long as it runs."""
    return os.path.join(config.state_directory or directory.path, "state")


def located(config: Config, directory: RunDirectory) -> Config:
    """The configuration with the socket of an embedded store, as control and the workers are to use it."""
    if config.state is None or not is_embedded(config):
        return config
    state = msgspec.structs.replace(config.state, url=f"unix:{directory.store}")
    return msgspec.structs.replace(config, state=state)
