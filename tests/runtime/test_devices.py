"""Leases of GPUs: each worker gets one of those that the caller allows, and its replacement gets the same one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bob_gauntlet.runtime.devices import cores, device_name, lease_gpu, present_gpus, visible_gpus


# CUDA C++ Programming Guide, environment variables: absent means all, empty means none, ids may be UUIDs
@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({}, ["0", "1", "2"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "2"}, ["2"]),
        ({"CUDA_VISIBLE_DEVICES": "2, 0"}, ["2", "0"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f,MIG-1a"}, ["GPU-8f", "MIG-1a"]),
    ],
)
def test_the_callers_mask_decides(environment: dict[str, str], gpus: list[str]) -> None:
    """The GPUs are those of CUDA_VISIBLE_DEVICES, in its order."""
    assert visible_gpus(environment, present=3) == gpus


@pytest.fixture
def mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES with a value that is restored at the end of the test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")


@pytest.mark.usefixtures("mask")
def test_no_gpu_is_no_lease(tmp_path: Path) -> None:
    """Without a GPU there is no lease, and the environment is unchanged."""
    assert lease_gpu([], tmp_path) is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "before"


@pytest.mark.usefixtures("mask")
def test_each_lease_is_of_another_gpu(tmp_path: Path) -> None:
    """Each lease is of another GPU, a freed GPU is leased again, and one is shared where none is left."""
    first, second = lease_gpu(["3", "GPU-8f"], tmp_path / "locks"), None
    assert first is not None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    second = lease_gpu(["3", "GPU-8f"], tmp_path / "locks")
    assert second is not None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8f"
    assert lease_gpu(["3", "GPU-8f"], tmp_path / "locks") is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] in ("3", "GPU-8f")
    first.release()
    third = lease_gpu(["3", "GPU-8f"], tmp_path / "locks")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert third is not None
    third.release()
    second.release()


# a process that holds its lease until it is killed
HOLDER = """
import os, sys, time
from pathlib import Path
from bob_gauntlet.runtime.devices import lease_gpu
lock = lease_gpu(["0", "1"], Path(sys.argv[1]))
print(os.environ["CUDA_VISIBLE_DEVICES"], lock is not None, flush=True)
time.sleep(60)
"""


@pytest.mark.usefixtures("mask")
def test_a_killed_workers_gpu_is_free_again(tmp_path: Path) -> None:
    """The lock of a killed process is freed by the system, and its replacement gets the same GPU."""
    worker = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "0 True\n"
        other = lease_gpu(["0", "1"], tmp_path)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    finally:
        worker.kill()
        worker.communicate()
    replacement = lease_gpu(["0", "1"], tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    for lock in (other, replacement):
        assert lock is not None
        lock.release()


def test_this_machine_is_described() -> None:
    """The number of usable cores, the processor's name and the number of GPUs are known."""
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert device_name("cpu").endswith(f", {cores()} cores")
    assert present_gpus() >= 0


def test_describing_a_cpu_imports_no_torch() -> None:
    """Describing a CPU does not import torch, because a worker leases its GPU before that."""
    light = "from bob_gauntlet.runtime.devices import *\ndevice_name('cpu'), present_gpus()"
    code = f"{light}\nimport sys\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
