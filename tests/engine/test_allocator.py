"""The allocator keeps freed memory: page faults do not occur again."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import numpy as np
from bob_gauntlet.engine.allocator import keep_pages
assert "torch" not in sys.modules
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(5 * 2**20)  # 40 MiB, freed at once: above what glibc learns to keep by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
assert keep_pages() and keep_pages()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_pages_are_kept() -> None:
    """Each of twenty arrays of 40 MiB causes a page fault before keep_pages(), and almost none does after it."""
    out = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True, timeout=60)
    before, after = map(int, out.stdout.split())
    assert before >= 20
    assert after < 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and musl, which have no such thresholds, keep_pages() does nothing and returns False."""
    from bob_gauntlet.engine import allocator

    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert allocator.keep_pages.__wrapped__() is False
