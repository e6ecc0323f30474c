"""Time the mini settings of classification, shifts, attacks and calibration: `python benchmarks/mini.py`.

Runs one pytest session for EfficientNet-Lite0 with an empty store and cache, and prints the seconds of each setting,
each task and the whole process. The first setting that uses a shared artefact (a trained network, features) pays for
it. The target: 6 minutes on 2 cores. Further arguments are passed to pytest: `python benchmarks/mini.py -k photos`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load, time_call

ROOT = Path(__file__).parents[1]
SUITES = [f"suites/test_{name}.py" for name in ("classification", "ood", "adversarial", "calibration")]
TARGET = 6 * 60

Seconds = dict[tuple[str, str], float]
"""(task, setting) -> seconds."""


def run_session(backbone: str, folder: Path, extra: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
    """Run a session and return its seconds and scores; exit with the end of its output if it fails."""
    outputs = [f"--bob-store={folder}/store", f"--bob-cache={folder}/cache", f"--bob-json={folder}/scores.json"]
    quiet = ["-q", "-p", "no:cacheprovider", "--bob-progress=off", "--bob-pool=none"]
    command = [sys.executable, "-m", "pytest", *SUITES, f"--backbone={backbone}", *outputs, *quiet, *extra]
    seconds, process = time_call(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
    if process.returncode:
        output = f"{process.stdout[-3000:]}{process.stderr[-3000:]}"
        raise SystemExit(f"the session failed with exit code {process.returncode}:\n{output}")
    return seconds, json.loads((folder / "scores.json").read_text())


def seconds_by_setting(scores: Iterable[Mapping[str, Any]]) -> Seconds:
    """Return the seconds of each setting; all scores of a setting hold the same seconds."""
    return {(score["task"], score["setting"]): float(score["provenance"]["seconds"]) for score in scores}


def format_table(seconds: Seconds, total: float) -> str:
    """Format the settings by task, slowest first, then the tasks, the rest of the process, and the total."""
    tasks = sorted({task for task, _ in seconds})
    lines = []
    for task in tasks:
        of_task = sorted(((value, setting) for (of, setting), value in seconds.items() if of == task), reverse=True)
        lines += [f"{task:8} {setting:44}{value:8.1f} s" for value, setting in of_task]
    sums = {task: sum(value for (of, _), value in seconds.items() if of == task) for task in tasks}
    lines += ["", *(f"{task:53}{value:8.1f} s" for task, value in sums.items())]
    lines += [f"{'imports, collecting, storing':53}{total - sum(sums.values()):8.1f} s", f"{'all':53}{total:8.1f} s"]
    return "\n".join(lines)


def main() -> None:
    """Print the table; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options, extra = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.backbone}, {describe_load()} before", flush=True)
        total, scores = run_session(options.backbone, Path(folder), extra)
    print(format_table(seconds_by_setting(scores), total))
    print(f"target: {TARGET} s: {'met' if total <= TARGET else 'MISSED'}")
    raise SystemExit(total > TARGET)


if __name__ == "__main__":
    main()
