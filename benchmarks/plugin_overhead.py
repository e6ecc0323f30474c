"""What the plugin costs beside plain pytest: `python benchmarks/plugin_overhead.py`.

- `pytest --collect-only suites/` against an empty pytest run (bar: under 1.5 s more, and no torch);
- a session whose scores are all in the store, per test, against the same number of empty tests (bar: under 20 ms).
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import spread, timed

ROOT = Path(__file__).parents[1]
REPEATS = 7
COPIES = 30


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "empty"
        empty.mkdir()
        (empty / "test_nothing.py").write_text("")
        plain = ["-p", "no:bob_gauntlet.plugin", "-p", "no:cacheprovider"]
        pairs = [(seconds(empty, *plain), seconds(ROOT, "--collect-only", "-q", "suites/")) for _ in range(REPEATS)]
        print(f"empty pytest run            {spread([a for a, _ in pairs])} s")
        print(f"pytest --collect-only       {spread([b for _, b in pairs])} s")
        print(f"more                        {spread([b - a for a, b in pairs])} s   (bar: under 1.5)")
        per_test(folder / "stored")


def per_test(folder: Path) -> None:
    """The overhead of a test whose score is read, from sessions of 6 and of 6 * COPIES of them."""
    folder.mkdir()
    from tests.helpers.plugin_suite import SETTINGS, SUITE

    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_quick.py").write_text(SUITE)
    options = ["--backbone=random:test_resnet", "--bob-pool=none", "-p", "no:cacheprovider"]
    seconds(folder, *options)
    for copy in range(COPIES - 1):
        (folder / f"test_quick_{copy}.py").write_text(SUITE)
        (folder / f"test_empty_{copy}.py").write_text("\n".join(f"def test_{i}(): pass" for i in range(len(SETTINGS))))
    extra = (COPIES - 1) * len(SETTINGS)
    ours = [(seconds(folder, *options, *quick(folder)) - seconds(folder, *options, "test_quick.py")) for _ in range(3)]
    empty = [
        (seconds(folder, *options, *quick(folder, "empty")) - seconds(folder, "test_empty_0.py")) for _ in range(3)
    ]
    a, b = statistics.median(ours) / extra * 1e3, statistics.median(empty) / extra * 1e3
    print(f"a stored setting {a:.1f} ms a test, an empty test {b:.1f} ms; more: {a - b:.1f} ms   (bar: under 20)")


def quick(folder: Path, kind: str = "quick") -> list[str]:
    """The test files of one kind."""
    return sorted(path.name for path in folder.glob(f"test_{kind}*.py"))


def seconds(folder: Path, *options: str) -> float:
    """The wall time of a pytest run."""
    command = [sys.executable, "-m", "pytest", "-q", *options]
    return timed(lambda: subprocess.run(command, cwd=folder, capture_output=True, check=False))[0]


if __name__ == "__main__":
    main()
