"""A training in a process of its own that dies by kill -9 in the second epoch of its second run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from . import tiny

ROOT = Path(__file__).parents[2]
DYING = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
import torch
torch.set_num_threads(1)
from bob_gauntlet.engine.training.loop import Trainer
module, folder, steps = sys.argv[1:]
tests = import_module(module)
step = Trainer._step
def dying(self, batch):
    if self.config.lr == tests.RATES[1] and self.state.steps == int(steps):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)
Trainer._step = dying
tests.interrupted(Path(folder))
"""


def run_until_killed(module: str, folder: Path, steps: int) -> None:
    """`interrupted(folder)` of a module of tests, killed after that many steps at its second rate.

    The first run and the second one's first epoch are saved, and nothing else.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DYING, module, str(folder), str(steps)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert tiny.network_artefacts(folder) == {}
    assert sorted(path.name for path in (folder / "checkpoints").rglob("*.pt")) == ["finished.pt", "run-1.pt"]
