"""How long the mini settings of classification, shifts, attacks and calibration take: `python benchmarks/mini.py`.

One session for EfficientNet-Lite0 in a fresh store and cache; by setting, by task, and as a whole process. What several
settings share (a trained network, features) is paid by the first of them. The bar: 6 minutes on 2 cores. What else is
given goes to pytest: `python benchmarks/mini.py -k photos`.
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

from benchmarks.paired import load, timed

ROOT = Path(__file__).parents[1]
SUITES = [f"suites/test_{name}.py" for name in ("classification", "ood", "adversarial", "calibration")]
BAR = 6 * 60

Seconds = dict[tuple[str, str], float]


def session(backbone: str, folder: Path, extra: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a whole session, and its scores; where it failed, the end of what it said."""
    kept = [f"--bob-store={folder}/store", f"--bob-cache={folder}/cache", f"--bob-json={folder}/scores.json"]
    quiet = ["-q", "-p", "no:cacheprovider", "--bob-progress=off", "--bob-pool=none"]
    command = [sys.executable, "-m", "pytest", *SUITES, f"--backbone={backbone}", *kept, *quiet, *extra]
    seconds, ended = timed(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
    if ended.returncode:
        raise SystemExit(f"the session ended with {ended.returncode}:\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}")
    return seconds, json.loads((folder / "scores.json").read_text())


def by_setting(scores: Iterable[Mapping[str, Any]]) -> Seconds:
    """(task, setting) -> seconds; the scores of a setting share them."""
    return {(score["task"], score["setting"]): float(score["provenance"]["seconds"]) for score in scores}


def table(seconds: Seconds, whole: float) -> str:
    """Settings by task, slowest first, then the tasks, the rest of the process and the whole."""
    tasks = sorted({task for task, _ in seconds})
    lines = []
    for task in tasks:
        own = sorted(((taken, setting) for (of, setting), taken in seconds.items() if of == task), reverse=True)
        lines += [f"{task:8} {setting:44}{taken:8.1f} s" for taken, setting in own]
    sums = {task: sum(taken for (of, _), taken in seconds.items() if of == task) for task in tasks}
    lines += ["", *(f"{task:53}{taken:8.1f} s" for task, taken in sums.items())]
    lines += [f"{'imports, collecting, storing':53}{whole - sum(sums.values()):8.1f} s", f"{'all':53}{whole:8.1f} s"]
    return "\n".join(lines)


def main() -> None:
    """Print the table; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options, extra = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.backbone}, {load()} before", flush=True)
        whole, scores = session(options.backbone, Path(folder), extra)
    print(table(by_setting(scores), whole))
    print(f"bar: {BAR} s: {'met' if whole <= BAR else 'MISSED'}")
    raise SystemExit(whole > BAR)


if __name__ == "__main__":
    main()
