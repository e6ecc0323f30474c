"""A training in another process, which kill -9 ends in the second epoch of its second run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from . import tiny

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
import torch
torch.set_num_threads(1)
from bob_gauntlet.engine.training import loop
from bob_gauntlet.engine.training.loop import Trainer
loop.SAVE_INTERVAL = 0.0
module, folder, steps = sys.argv[1:]
tests = import_module(module)
step = Trainer._step
def kill_at_step(self, batch):
    if self.config.lr == tests.RATES[1] and self.state.steps == int(steps):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)
Trainer._step = kill_at_step
tests.interrupted(Path(folder))
"""


def run_until_killed(module: str, folder: Path, steps: int) -> None:
    """Call `interrupted(folder)` of a test module in another process, which is killed after `steps` of its second run.

    It saves after every step. Then check that the first run and the second run are saved, and nothing else.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, module, str(folder), str(steps)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert tiny.network_artefacts(folder) == {}
    assert sorted(path.name for path in (folder / "checkpoints").rglob("*.pt")) == ["finished.pt", "run-1.pt"]
