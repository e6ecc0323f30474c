"""A suite that takes milliseconds, for tests of the plugin: its source code and the settings that it measures."""

SUITE = '''
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.recipe import Measured


@dataclass(frozen=True)
class Quick:
    """A recipe that measures without a forward pass; what plan.txt says about a setting happens first."""

    id: str
    version: ClassVar[int] = 1
    mini: ClassVar[dict] = {}
    seeded: ClassVar[bool] = False
    input_size: int | None = None
    exclusive: bool = False

    def evaluate(self, backbone, dataset, context):
        log(f"{backbone.name} {self.id}@{dataset.name} by {os.getpid()}")
        started = time.time()
        happen(f"{self.id}@{dataset.name}")
        with open("spans.txt", "a") as file:
            file.write(f"{self.id}@{dataset.name} {started} {time.time()}\\n")
        values = np.arange(10.0) + len(backbone.name)
        yield Measured("map" if self.id == "retrieval" else "top1", float(values.mean()), values,
                       [str(i) for i in range(10)], [str(i // 2) for i in range(10)])


def log(line):
    with open("log.txt", "a") as file:
        file.write(line + "\\n")


def happen(setting):
    plan = Path("plan.txt").read_text().split("\\n") if Path("plan.txt").exists() else []
    for line in plan:
        where, _, what = line.partition(" ")
        if where != setting:
            continue
        if what == "kill" or (what == "kill once" and not Path("killed").exists()):
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "crash":
            1 / 0
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "fail":
            raise BobError("it does not work; type something else")
        if what == "skip":
            raise MissingError("its data is absent; get it there")
        if what.startswith("sleep"):
            time.sleep(float(what.split()[1]))
        if what == "train":
            from tests.helpers.tiny import train_until_killed

            train_until_killed(Path("steps.txt"), loaders=2)


@settings(Quick("linear-probe"), Quick("knn"))
def test_quick(gauntlet, recipe, dataset):
    gauntlet.run(recipe, dataset)


@settings(Quick("retrieval", exclusive=True))
def test_retrieval(gauntlet, recipe, dataset):
    gauntlet.run(recipe, dataset)
'''

SETTINGS = (
    "linear-probe@photos",
    "linear-probe@digits",
    "knn@photos",
    "knn@digits",
    "retrieval@photos-instances",
    "retrieval@copydays-mini",
)
"""The settings that the suite measures for each backbone."""
