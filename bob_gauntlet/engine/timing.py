"""Measurements of a forward pass: seconds after a warm-up, FLOPs, peak memory."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bob_gauntlet.backbones.backbone import Backbone


def flops(backbone: Backbone, images: torch.Tensor) -> int:
    """Count the floating-point operations of one forward pass with torch's counter: 2 for a multiply-accumulate.

    Attention is computed without a fused kernel, since the counter does not see the operations inside the CPU's one.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        backbone.embed(images)
    return int(counter.get_total_flops())


def measure_seconds(call: Callable[[], object], device: str, *, warmup: int, repeats: int) -> list[float]:
    """Return the wall time of each of `repeats` calls, in seconds, after `warmup` calls that are not timed.

    Before and after each call the function waits until the device has finished its work.
    """
    times = []
    for index in range(warmup + repeats):
        _synchronise(device)
        start = time.perf_counter()
        call()
        _synchronise(device)
        if index >= warmup:
            times.append(time.perf_counter() - start)
    return times


def median_and_spread(values: list[float]) -> tuple[float, float]:
    """Return the median, and half of the interquartile range.

    >>> median_and_spread([1.0, 2.0, 3.0, 4.0, 5.0])
    (3.0, 1.5)
    """
    if len(values) < 2:
        return values[0], 0.0
    first, middle, last = statistics.quantiles(values, n=4)
    return middle, (last - first) / 2


def peak_memory(call: Callable[[], object], device: str) -> float:
    """Return the MiB of memory that a call needs at its peak, beyond what was in use before it.

    On a GPU, CUDA's allocator counts it. On a CPU it is the peak of the process's resident memory, which is reset first
    (Linux); memory that the C library's allocator already held is not counted, so the result is a lower bound.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
        call()
        return float(torch.cuda.max_memory_allocated(device) - allocated) / 2**20
    _trim()
    _reset_high_water_mark()
    before = _resident("VmRSS")
    call()
    return max(0.0, _resident("VmHWM") - before) / 2**10


@contextmanager
def all_cores(device: str, cores: int) -> Iterator[None]:
    """Let torch use every core inside the block, on a CPU. Efficiency settings run alone, so no other test waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores if device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _trim() -> None:
    """Return freed memory to the system, so that the next allocation of it is counted."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_high_water_mark() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _resident(field: str) -> float:
    """Return VmRSS or VmHWM of this process in KiB: resident memory now, or at its peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return float(line.split()[1])
