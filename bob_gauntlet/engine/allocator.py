"""Settings of the C library's memory allocator, which make networks on small images about twice as fast on a CPU.

By default, glibc returns the memory of every tensor above 128 KiB to the system, and asks for new, zeroed pages at the
next layer. With two higher thresholds it keeps the memory, about 290 MB more. `benchmarks/extraction.py` measures the
gain.
"""

import ctypes
import platform
from functools import cache

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 30


@cache
def keep_pages() -> bool:
    """Raise glibc's trim and mmap thresholds in this process; later calls do nothing. Return whether it was done."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES) and libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
