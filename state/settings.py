"""Where the store is and how it is reached, as a configuration says, resolved to what a connection needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from state import StateError

Form = Literal["server", "sentinel", "cluster"]
Address = tuple[str, int]

LONGEST_PASSWORD = 4096


def no_password() -> str:
    """There is none."""
    return ""


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the store, as PEM files: who signs its certificate, "" for the system's; and ours, if it wants one."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """One store. `path` is a Unix socket, "" for TCP; `addresses` are those of the server, of the sentinels that know
    the master of `service`, or of some members of the cluster. `password` is asked for at each connection, so that a
    new one needs no restart. Times are in seconds: `timeout` for a command, `connect_timeout` for a connection and
    for a command that a person waits for."""

    form: Form = "server"
    path: str = ""
    addresses: tuple[Address, ...] = ()
    service: str = ""
    database: int = 0
    user: str = ""
    password: Callable[[], str] = no_password
    tls: Tls | None = None
    prefix: str = "penstock"
    timeout: float = 0.02
    connect_timeout: float = 1.0

    @property
    def told(self) -> str:
        """For logs: where it is, without any secret."""
        if self.path:
            return f"unix:{self.path}"
        where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        return f"{self.form} {where}" + (f" {self.service}" if self.service else "")


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """Reads a password from a file, without the newline at its end."""

    path: str

    def __call__(self) -> str:
        """Raises `StateError`."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read(LONGEST_PASSWORD).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"cannot read the password file {self.path!r}: {error}", "down") from error


@dataclass(frozen=True, slots=True)
class PasswordVariable:
    """Reads a password from an environment variable."""

    name: str

    def __call__(self) -> str:
        """Raises `StateError`."""
        password = os.environ.get(self.name)
        if password is None:
            raise StateError(
                f"the environment variable {self.name}, which has the store's password, is not set", "down"
            )
        return password
