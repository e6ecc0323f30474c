"""Measure the overhead of the plugin over plain pytest: `python benchmarks/plugin_overhead.py`.

- `pytest --collect-only suites/` against an empty pytest run (target: less than 1.5 s more, and no torch);
- the tests of another project, with the plugin and without it (target: less than 10 ms more);
- a session whose scores are all in the store against the same number of empty tests (target: less than 20 ms a test).
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import format_spread, time_call

ROOT = Path(__file__).parents[1]
REPEATS = 7
COPIES = 30
IMPORT = """
import pytest, time
start = time.process_time()
import bob_gauntlet.plugin
print(1e3 * (time.process_time() - start))
"""


def main() -> None:
    """Measure and print all overheads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "empty"
        empty.mkdir()
        (empty / "test_nothing.py").write_text("")
        plain = ["-p", "no:bob_gauntlet.plugin", "-p", "no:cacheprovider"]
        collect = ["--collect-only", "-q", "suites/"]
        pairs = [(time_pytest(empty, *plain), time_pytest(ROOT, *collect)) for _ in range(REPEATS)]
        print(f"empty pytest run            {format_spread([a for a, _ in pairs])} s")
        print(f"pytest --collect-only       {format_spread([b for _, b in pairs])} s")
        print(f"overhead                    {format_spread([b - a for a, b in pairs])} s   (target: under 1.5)")
        print_overhead_in_another_project(empty, plain)
        print_overhead_per_test(folder / "stored")


def print_overhead_in_another_project(folder: Path, without_plugin: Sequence[str]) -> None:
    """Print what the plugin adds to a session that measures nothing: its import, and the difference of whole sessions.

    Both are processor times, and the smallest of many runs, since the difference is far below the noise of a session.
    """
    imports = [float(subprocess.check_output([sys.executable, "-c", IMPORT])) for _ in range(REPEATS)]
    print(f"another project's tests     {min(imports):.1f} ms to import the plugin   (target: under 10)")
    pairs = [
        (cpu_seconds(folder, *without_plugin), cpu_seconds(folder, *without_plugin[2:])) for _ in range(2 * REPEATS)
    ]
    without, with_plugin = (1e3 * min(side) for side in zip(*pairs, strict=True))
    print(
        f"    a whole session         {with_plugin - without:.1f} ms more than {without:.0f} ms, the smallest of "
        f"{len(pairs)} processor times each"
    )


def print_overhead_per_test(folder: Path) -> None:
    """Print the overhead of a test whose score is in the store, from sessions of 6 and of 6 * COPIES tests."""
    folder.mkdir()
    from tests.helpers.plugin_suite import SETTINGS, SUITE

    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_quick.py").write_text(SUITE)
    options = ["--bob-backbone=random:test_resnet", "--bob-pool=none", "-p", "no:cacheprovider"]
    time_pytest(folder, *options)
    for copy in range(COPIES - 1):
        (folder / f"test_quick_{copy}.py").write_text(SUITE)
        (folder / f"test_empty_{copy}.py").write_text("\n".join(f"def test_{i}(): pass" for i in range(len(SETTINGS))))
    extra = (COPIES - 1) * len(SETTINGS)
    stored = [
        time_pytest(folder, *options, *list_test_files(folder, "quick"))
        - time_pytest(folder, *options, "test_quick.py")
        for _ in range(3)
    ]
    empty = [
        time_pytest(folder, *options, *list_test_files(folder, "empty")) - time_pytest(folder, "test_empty_0.py")
        for _ in range(3)
    ]
    stored_ms, empty_ms = (statistics.median(seconds) / extra * 1e3 for seconds in (stored, empty))
    print(
        f"a test with a stored score {stored_ms:.1f} ms, an empty test {empty_ms:.1f} ms; "
        f"overhead {stored_ms - empty_ms:.1f} ms   (target: under 20)"
    )


def list_test_files(folder: Path, kind: str) -> list[str]:
    """Return the names of the test files of one kind."""
    return sorted(path.name for path in folder.glob(f"test_{kind}*.py"))


def time_pytest(folder: Path, *options: str) -> float:
    """Return the wall time of a pytest run in seconds."""
    command = [sys.executable, "-m", "pytest", "-q", *options]
    return time_call(lambda: subprocess.run(command, cwd=folder, capture_output=True, check=False))[0]


def cpu_seconds(folder: Path, *options: str) -> float:
    """Return the processor time of a pytest run in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    time_pytest(folder, *options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
