"""The C library's allocator: fresh pages cost small-image networks half their speed on a CPU.

glibc gives every tensor above 128 KiB back to the system and asks for new, zeroed pages at the next layer. Raising two
thresholds lets it keep them, for about 290 MB more memory. `benchmarks/extraction.py` shows the gain.
"""

import ctypes
import platform
from functools import cache

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP = 1 << 30


@cache
def keep_pages() -> bool:
    """Raise glibc's trim and mmap thresholds in this process, once; True where that was done."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _KEEP) and libc.mallopt(_M_TRIM_THRESHOLD, _KEEP))
