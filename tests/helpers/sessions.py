"""Sessions of the real suites in a folder: what they print and which scores they write."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bob_gauntlet.scores.score import Score

ROOT = Path(__file__).parents[2]
START = "import pytest, sys; code = pytest.main(); print('torch is imported:', 'torch' in sys.modules); sys.exit(code)"


@dataclass(frozen=True)
class Ran:
    """The exit code of a session, what it printed, and the scores that it wrote."""

    code: int
    text: str
    records: tuple[Score, ...]

    @property
    def scores(self) -> dict[tuple[str, str], Score]:
        """The scores by (setting, metric), for a session of one backbone."""
        return {score.measure: score for score in self.records}

    def of(self, setting: str) -> list[Score]:
        """Return the scores of `setting`."""
        return [score for score in self.records if score.setting == setting]

    def first(self, setting: str) -> Score:
        """Return the first score of `setting`: top-1, mean AUC, or the AP of boxes."""
        return self.of(setting)[0]

    @property
    def settings(self) -> set[str]:
        """The settings that have a score."""
        return {score.setting for score in self.records}


def suites(folder: Path, *options: str, backbones: tuple[str, ...] = ("tiny",), fresh: bool = False) -> Ran:
    """Run the suites in `folder`, whose bob.toml declares backbones and datasets, and return the result.

    The session is a process of its own in which torch is imported already, and measures without workers unless an
    option begins with -n. With `fresh` it is a new interpreter, which says at its end whether it has imported torch.
    """
    out = folder / "scores.json"
    out.unlink(missing_ok=True)
    arguments = [
        str(ROOT / "suites"), f"--rootdir={ROOT}", f"-c={ROOT / 'pytest.ini'}",
        *(f"--backbone={name}" for name in backbones), f"--bob-json={out}", *options,
        *["-n0"] * (not any(option.startswith("-n") for option in options)),
    ]  # fmt: skip
    code, text = (_run_fresh if fresh else _run_forked)(folder, arguments)
    records = json.loads(out.read_text()) if out.is_file() else []
    return Ran(code, text, tuple(map(Score.from_dict, records)))


def _environment() -> dict[str, str]:
    """Return the environment of a session: one thread, and the working tree's package."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}


def _run_fresh(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """Run a session in a new interpreter; return its exit code and what it printed."""
    command = [sys.executable, "-c", START, *arguments]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _run_forked(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """Do the same in a process that is forked from one with torch and timm, which takes seconds to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision.transforms.v2", "timm", "pandas", "scipy.stats", "pytest"])
    with tempfile.NamedTemporaryFile() as printed:
        process = context.Process(target=_session, args=(str(folder), arguments, printed.name))
        process.start()
        process.join()
        return process.exitcode or 0, Path(printed.name).read_text()


def _session(folder: str, arguments: list[str], printed: str) -> None:
    """Run pytest in this process with its output in a file, and end the process with pytest's exit code."""
    file = os.open(printed, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(folder)
    os.environ.update(_environment())
    sys.exit(pytest.main(arguments))
