"""The cores and the memory that a process may use, read from files as Linux has them."""

from pathlib import Path

import pytest

from bob_gauntlet.runtime.limits import available_memory, usable_cores

GIB = 2**30


def system(root: Path, files: dict[str, str]) -> Path:
    """Write files as a system has them under `root`, and return it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the affinity of this process be eight cores."""
    monkeypatch.setattr("bob_gauntlet.runtime.limits.cores", lambda: 8)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "20000 100000"}, 1),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "6400000 100000"}, 8),
        ({"proc/self/cgroup": "0::/job/step", "sys/fs/cgroup/job/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/of/the/host", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab\n9:memory:/docker/ab\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ({"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "0 0"}, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": ""}, 8),
    ],
)
def test_a_quota_limits_the_cores(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    """The smallest quota of the groups above a process counts, rounded up; a file that says nothing limits nothing."""
    assert usable_cores(system(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "gibibytes"),
    [
        ({}, None),
        ({"proc/meminfo": f"MemTotal: 9999 kB\nMemAvailable: {6 * 2**20} kB\n"}, 6),
        (
            {
                "proc/meminfo": f"MemAvailable: {6 * 2**20} kB\n",
                "proc/self/cgroup": "0::/job",
                "sys/fs/cgroup/job/memory.max": f"{5 * GIB}\n",
                "sys/fs/cgroup/job/memory.current": f"{4 * GIB}\n",
                "sys/fs/cgroup/job/memory.stat": f"anon {GIB}\ninactive_file {3 * GIB}\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "0::/job",
                "sys/fs/cgroup/job/memory.max": "max\n",
                "sys/fs/cgroup/job/memory.current": f"{4 * GIB}\n",
            },
            None,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/job",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
            },
            0,
        ),
    ],
)
def test_the_least_memory_of_system_and_groups_is_available(
    tmp_path: Path, files: dict[str, str], gibibytes: int | None
) -> None:
    """Memory that a group holds of files is available, and a group that is over its limit has none."""
    assert available_memory(system(tmp_path, files)) == (None if gibibytes is None else gibibytes * GIB)


def test_this_process_may_use_something() -> None:
    """On the machine of the tests there is at least one core, and memory is not negative."""
    assert usable_cores() >= 1
    assert (available_memory() or 0) >= 0
