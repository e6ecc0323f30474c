"""Settings that run side by side on a device, and settings that have to be alone on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def device_lock(folder: Path, device: str, *, exclusive: bool) -> Iterator[None]:
    """Use a device together with other processes, or alone where `exclusive`.

    An exclusive holder waits until the other users of the device have finished, and nobody starts meanwhile. Two file
    locks in `folder` do this; the system frees them when their holder dies. `users` is shared by all who use the
    device, or held by one alone; `turnstile` is taken before it, and a waiting exclusive holder keeps it. A GPU that a
    worker leased has a lock of its own. Where the platform has no such lock, or the folder cannot be written, nobody
    waits.
    """
    name = device if device == "cpu" else f"gpu-{os.environ.get('CUDA_VISIBLE_DEVICES', device)}"
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        turnstile, users = ((folder / f".{part}-{name.replace('/', '_')}").open("a") for part in ("turnstile", "users"))
    except (ImportError, OSError):
        yield
        return
    with users:
        with turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
