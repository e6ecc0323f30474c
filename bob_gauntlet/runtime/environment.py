"""The environment of a process: package versions and the commit of the calling folder, for the provenance of scores."""

import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bob_gauntlet import __version__

PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scipy", "pillow", "scikit-image", "scikit-learn", "matplotlib",
)  # fmt: skip
"""Packages whose version may change a score."""


@cache
def environment() -> dict[str, Any]:
    """Return `versions` (package -> version) and `commit` of this process, looked up once."""
    return {"versions": dict(_versions()), "commit": _commit()}


def _versions() -> Iterator[tuple[str, str]]:
    """Yield every package that is installed, with its version."""
    yield "bob-gauntlet", __version__
    yield "python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _commit() -> str:
    """Return the commit of the calling folder's git checkout, "" where there is none."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()
