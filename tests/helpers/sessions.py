"""Sessions of the real suites in a folder: what they print and which scores they write."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bob_gauntlet.scores.score import Score

ROOT = Path(__file__).parents[2]
START = "import pytest, sys; code = pytest.main(); print('torch' in sys.modules and 'with torch'); sys.exit(code)"


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


def suites(folder: Path, *options: str, backbones: tuple[str, ...] = ("tiny",)) -> Ran:
    """Run the suites in `folder`, whose bob.toml declares backbones and datasets, and return the result."""
    out = folder / "scores.json"
    out.unlink(missing_ok=True)
    command = [
        sys.executable, "-c", START, str(ROOT / "suites"), f"--rootdir={ROOT}", f"-c={ROOT / 'pytest.ini'}",
        *(f"--backbone={name}" for name in backbones), f"--bob-json={out}", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    records = json.loads(out.read_text()) if out.is_file() else []
    return Ran(done.returncode, done.stdout + done.stderr, tuple(map(Score.from_dict, records)))
