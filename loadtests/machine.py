"""Facts about the machine that a reader needs to judge figures. No host name, no path."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path


def facts() -> dict[str, str]:
    """Processor, cores that this process may use, memory, kernel, Python, and the load before the run."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {re.sub(r'[-+].*', '', platform.release())}",
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    """The model name as /proc/cpuinfo has it, or the architecture where it has none."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1].strip()} ({platform.machine()})" if found else platform.machine()


def h2load_version() -> str:
    """As `h2load --version` says; it must be installed."""
    said = subprocess.run(["h2load", "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    return said.strip().replace("nghttp2/", "nghttp2 ")
