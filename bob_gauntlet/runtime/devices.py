"""Which device a process runs on: names, threads, and a lease on one GPU. No torch is imported here.

A worker leases a GPU before torch is imported, by a file lock on one of the devices that the caller's
CUDA_VISIBLE_DEVICES allows, never by its number: a replaced worker has a new number. The lock lives as long as the
process.
"""

import os
import platform
import tempfile
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path

from filelock import FileLock, Timeout

from bob_gauntlet.errors import UsageError


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Processes that wanted a core in the last minute, on average: above `cores()` times are not to be trusted."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def device_name(device: str) -> str:
    """What stands in a score's `device`: `cpu: AMD EPYC, 2 threads`, or the GPU's name.

    >>> device_name("cpu").startswith("cpu: ")
    True
    """
    if device == "cpu":
        return f"cpu: {_cpu_model()}, {cores()} cores"
    import torch

    return str(torch.cuda.get_device_name(device))


def choose(wanted: str) -> str:
    """The device of this process, from `auto`, `cpu` or `cuda`. UsageError where there is no GPU to have.

    >>> choose("cpu")
    'cpu'
    """
    there = bool(visible_gpus(os.environ, present_gpus()))
    if wanted == "cuda" and not there:
        raise UsageError("--bob-device=cuda: no NVIDIA GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES")
    return "cuda:0" if there and wanted != "cpu" else "cpu"


def visible_gpus(environment: Mapping[str, str], present: int) -> list[str]:
    """The GPUs that a caller's environment allows, as CUDA_VISIBLE_DEVICES writes them.

    >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-8f"}, present=8)
    ['3', 'GPU-8f']
    >>> visible_gpus({}, present=2)
    ['0', '1']
    """
    mask = environment.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return [str(index) for index in range(present)]
    # as CUDA reads it: the list ends at the first entry that is no device
    entries = (entry.strip() for entry in mask.split(","))
    return list(takewhile(lambda entry: entry not in ("", "-1"), entries))


def present_gpus() -> int:
    """NVIDIA GPUs of this machine, counted without torch."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) if Path("/proc/driver/nvidia/gpus").is_dir() else 0


def lease_gpu(gpus: list[str], folder: Path | None = None) -> FileLock | None:
    """Lock one of `gpus` for this process and make it the only visible one; None where there are none to have.

    With more workers than GPUs, the later ones share: they are spread by process id. The caller keeps the lock.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"bob-gauntlet-gpus-{os.getuid() if hasattr(os, 'getuid') else 0}"
    if not gpus:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        lock = FileLock(folder / f"{gpu}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return lock
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[os.getpid() % len(gpus)]
    return None


@cache
def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
