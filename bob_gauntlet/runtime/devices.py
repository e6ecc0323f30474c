"""The device that a process runs on: names, cores, and a lease on one GPU. No torch is imported here.

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
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Return how many threads of all processes, this one included, want a core: now on Linux, else in the last minute.

    Where they are more than the machine has cores, they wait for each other, and measured times cannot be trusted. The
    average of the last minute would count what this process itself did before.
    """
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        running = 0
    if running:
        return float(running)
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def device_name(device: str) -> str:
    """Return the name of a device as scores store it: `cpu: AMD EPYC, 2 cores`, or the GPU's name.

    >>> device_name("cpu").startswith("cpu: ")
    True
    """
    if device == "cpu":
        return f"cpu: {_cpu_model()}, {cores()} cores"
    import torch

    return str(torch.cuda.get_device_name(device))


def choose(wanted: str) -> str:
    """Return the device of this process, from `auto`, `cpu` or `cuda`. Raises UsageError where there is no GPU.

    >>> choose("cpu")
    'cpu'
    """
    has_gpu = bool(visible_gpus(os.environ, present_gpus()))
    if wanted == "cuda" and not has_gpu:
        raise UsageError("--bob-device=cuda: no NVIDIA GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES")
    return "cuda:0" if has_gpu and wanted != "cpu" else "cpu"


def visible_gpus(environment: Mapping[str, str], present: int) -> list[str]:
    """Return the GPUs that a caller's environment allows, as CUDA_VISIBLE_DEVICES writes them.

    >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-8f"}, present=8)
    ['3', 'GPU-8f']
    >>> visible_gpus({}, present=2)
    ['0', '1']
    """
    mask = environment.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return [str(index) for index in range(present)]
    # CUDA ends the list at the first entry that is no device
    entries = (entry.strip() for entry in mask.split(","))
    return list(takewhile(lambda entry: entry not in ("", "-1"), entries))


def present_gpus() -> int:
    """Return the number of NVIDIA GPUs of this machine, without torch."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) if Path("/proc/driver/nvidia/gpus").is_dir() else 0


def lease_gpu(gpus: list[str], folder: Path | None = None) -> FileLock | None:
    """Lock one of `gpus` for this process and make it the only visible one. Returns the lock, which the caller keeps.

    Where every GPU is leased, this process shares one, chosen by its process id, and None is returned; so it is where
    there are no GPUs.
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
    """Return the processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
