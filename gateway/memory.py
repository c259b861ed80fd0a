"""The memory of a worker process: how long the C library keeps what was freed.

A large request takes and frees some ten megabytes. By default glibc gives them back to the kernel each time and the
next request faults them in again, page by page: 1.1 of 2.7 ms for decoding a 1x3x224x224 tensor in JSON. So a worker
keeps up to `KEPT` of free memory at the end of its heap.
"""

from __future__ import annotations

import ctypes

MIB = 1024 * 1024
KEPT = 64 * MIB
"""Bytes of free memory that a worker keeps; more than that goes back to the kernel."""
FROM_HEAP = 32 * MIB
"""Blocks up to this size come from the heap and not from the kernel: glibc's own upper bound for it."""

# <malloc.h>, mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory(library: ctypes.CDLL | None = None) -> bool:
    """Let the C library keep freed memory from now on. False where it has no such option, as musl's has none."""
    mallopt = getattr(library or ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT)) and bool(mallopt(_M_MMAP_THRESHOLD, FROM_HEAP))
