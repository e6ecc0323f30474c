"""Measure the README's first command from nothing: `python benchmarks/first_run.py [--against COMMIT]`.

Clones the commit that is checked out, and runs `pytest suites/ --backbone=efficientnet_lite0` in the clone with an
empty store and cache: on a quiet machine, and beside a process that keeps one core busy. Prints wall and CPU time,
bytes written, peak memory, the seconds until the first score is stored, and the seconds of each task and setting; then
the time of the same command once more, when all scores are stored. With `--against` an older commit runs the same
command before, and the ratio of the times is printed. Packages have to be installed; the clone's code is what runs.

The targets: 5 minutes on a quiet machine with 2 cores and 8 minutes beside a busy process, the first score after 30
seconds, 1 GB written, 6 GB of memory, 2 seconds when all scores are stored, and 0.3 of the time of the older commit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load
from benchmarks.process_tree import Cost, run_and_measure, share_of_cores

ROOT = Path(__file__).parents[1]
QUIET_TARGET, BUSY_TARGET, FIRST_TARGET, WARM_TARGET = 300.0, 480.0, 30.0, 2.0
BYTES_TARGET, MEMORY_TARGET, RATIO_TARGET = 1e9, 6e9, 0.3


class Verdicts:
    """Prints figures beside their targets and remembers whether one was missed."""

    def __init__(self) -> None:
        self.missed = False

    def state(self, what: str, value: float, target: float, unit: str) -> None:
        """Print a figure and whether it is at most its target."""
        met = value <= target
        self.missed |= not met
        print(f"{what:44}{value:9.1f} {unit:4} target {target:g} {unit}: {'met' if met else 'MISSED'}", flush=True)


def clone(commit: str, folder: Path) -> Path:
    """Clone a commit of this repository into a new folder and return that."""
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "-q", "--detach", commit], check=True)
    return folder


def run_session(folder: Path, backbone: str, extra: Sequence[str]) -> tuple[Cost, float]:
    """Run the first command in a clone; return its cost and the seconds until a score was stored.

    Exits with the end of the output where the session fails.
    """
    first_score = [float("inf")]

    def watch(seconds: float) -> None:
        if first_score[0] == float("inf") and any(file.stat().st_size for file in folder.glob(".bob/store/*.jsonl")):
            first_score[0] = seconds

    command = [sys.executable, "-m", "pytest", "suites/", f"--backbone={backbone}", "--bob-json=scores.json", *extra]
    cost = run_and_measure(command, folder, os.environ, watch)
    if cost.exit_code:
        raise SystemExit(f"the session failed with exit code {cost.exit_code}:\n{cost.output[-4000:]}")
    return cost, first_score[0]


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def format_seconds(scores: Sequence[Mapping[str, Any]]) -> str:
    """Format the seconds of each task and each setting, slowest first.

    The first setting that uses a shared artefact (features, a trained network) pays for it.
    """
    by_task: dict[str, dict[str, float]] = defaultdict(dict)
    for score in scores:
        by_task[score["task"]][score["setting"]] = float(score["provenance"]["seconds"])
    lines = []
    for task, seconds in sorted(by_task.items(), key=lambda item: -sum(item[1].values())):
        lines.append(f"{task:44}{sum(seconds.values()):9.1f} s")
        lines += [f"    {setting:40}{value:9.1f} s" for setting, value in sorted(seconds.items(), key=lambda s: -s[1])]
    return "\n".join(lines)


def describe(name: str, cost: Cost) -> str:
    """Describe the cost of a session in one line."""
    return (
        f"{name}: {cost.wall_seconds:.0f} s, {cost.cpu_seconds:.0f} s of CPU ({share_of_cores(cost):.0%} of the cores)"
        f", {cost.bytes_written / 1e9:.2f} GB written, peak memory {cost.peak_bytes / 1e9:.1f} GB"
    )


def main() -> None:
    """Print the figures; exit with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--against", metavar="COMMIT", help="Run the command on this older commit too.")
    parser.add_argument("--no-busy", action="store_true", help="Leave out the run beside a busy process.")
    options, extra = parser.parse_known_args()
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"{options.backbone}, {describe_load()} before", flush=True)
        if options.against:
            older, _ = run_session(clone(options.against, folder / "older"), options.backbone, extra)
            print(describe(options.against, older), flush=True)
        quiet, first_score = run_session(clone("HEAD", folder / "quiet"), options.backbone, extra)
        print(describe("quiet", quiet), flush=True)
        print(format_seconds(json.loads((folder / "quiet/scores.json").read_text())))
        verdicts.state("quiet", quiet.wall_seconds, QUIET_TARGET, "s")
        verdicts.state("first score stored after", first_score, FIRST_TARGET, "s")
        verdicts.state("bytes written", quiet.bytes_written / 1e9, BYTES_TARGET / 1e9, "GB")
        verdicts.state("peak memory", quiet.peak_bytes / 1e9, MEMORY_TARGET / 1e9, "GB")
        warm, _ = run_session(folder / "quiet", options.backbone, extra)
        verdicts.state("again, all scores stored", warm.wall_seconds, WARM_TARGET, "s")
        if options.against:
            verdicts.state(f"ratio to {options.against}", quiet.wall_seconds / older.wall_seconds, RATIO_TARGET, "")
        if not options.no_busy:
            with busy_process():
                busy, _ = run_session(clone("HEAD", folder / "busy"), options.backbone, extra)
            print(describe("beside a busy process", busy), flush=True)
            verdicts.state("beside a busy process", busy.wall_seconds, BUSY_TARGET, "s")
    raise SystemExit(verdicts.missed)


if __name__ == "__main__":
    main()
