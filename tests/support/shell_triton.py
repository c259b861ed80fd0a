"""A stand-in for `tritonserver`: a shell that runs until SIGTERM. It starts in a millisecond, so that what control does
with processes is tested without Triton."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from config.schema import Managed, Pool
from gateway.control.inventory import Poll
from gateway.control.triton_process import Place

SCRIPT = """
trap 'echo bye; exit 0' TERM
echo "words $*"
[ -e "$PLACE/deaf" ] && trap '' TERM
while :; do
  [ -e "$PLACE/die" ] && { echo 'error: told to die'; exit 3; }
  sleep 0.02
done
"""


class ShellTritons:
    """The stand-ins under one directory: `live` is what polls of them say, but of those in `stuck`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.live = True
        self.stuck: set[str] = set()
        self.lifeline, self._held = os.pipe()

    def cut_lifeline(self) -> None:
        """As if the supervisor were gone."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    def tell(self, word: str, yes: bool = True) -> None:
        """`die`: each ends as soon as it reads this. `deaf`: those that start from now on ignore SIGTERM."""
        flag = self.directory / word
        if yes:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)

    def place(self, name: str = "t") -> Place:
        records, logs = self.directory / "records", self.directory / "logs"
        return Place(str(records / name), str(logs / f"{name}.log"), self.lifeline)

    def spec(self, **changes: object) -> Managed:
        settings: dict[str, object] = {
            "repository": (str(self.directory),),
            "command": ("/bin/sh", "-c", SCRIPT, "tritonserver"),
            "environment": {"PLACE": str(self.directory)},
            "start_timeout": 5.0,
            "drain_timeout": 2.0,
            "backoff": 0.02,
            "max_backoff": 0.05,
        }
        return Managed(**settings | changes)  # type: ignore[arg-type]

    def pool(self, **changes: object) -> Pool:
        return Pool(managed=self.spec(**changes))

    def client(self, address: str) -> ShellClient:
        return ShellClient(self, address)

    def close(self) -> None:
        """Ends those that still run, too."""
        self.cut_lifeline()
        os.close(self.lifeline)


class ShellClient:
    """Answers polls for one stand-in."""

    def __init__(self, tritons: ShellTritons, address: str) -> None:
        self._tritons, self._address = tritons, address

    async def live(self, timeout: float) -> Poll:
        await asyncio.sleep(0)
        live = self._tritons.live and self._address not in self._tritons.stuck
        return Poll(live=live, reason="" if live else "told to be silent")

    async def close(self) -> None:
        pass
