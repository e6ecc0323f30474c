"""One backbone through one setting: read its scores from the store, or measure and stamp them.

Nothing heavy is imported until something has to be loaded: a session whose scores are all stored needs no torch.
"""

import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bob_gauntlet import __version__
from bob_gauntlet.backbones.loading import identify, load, memoisable
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.datasets import loading as datasets
from bob_gauntlet.datasets.locations import DataLocations, default_locations
from bob_gauntlet.errors import MissingError
from bob_gauntlet.protocols.recipe import (
    Measured,
    Recipe,
    at_scale,
    canonical,
    find_trait,
    protocol_hash,
    with_fidelity,
)
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.devices import device_name
from bob_gauntlet.runtime.progress import Progress
from bob_gauntlet.scores import settings
from bob_gauntlet.scores.score import Fidelity, Scale, Score

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset

Origin = Literal["measured", "store"]


@dataclass(frozen=True)
class Outcome:
    """What one `Gauntlet.run` gave, and whether it was measured now or read from the store."""

    scores: tuple[Score, ...]
    origin: Origin


HELD = 500.0
"""Parameters of the backbones that a process keeps loaded, in millions: 2 GB in float32."""


@dataclass
class Workspace:
    """What one process keeps between settings: options, stored scores, loaded backbones, the dataset used last.

    `stored` maps a Score's identity to the Score; a worker reads it once at its start.
    """

    artifacts: Artifacts
    stored: Mapping[tuple[Any, ...], Score] = field(default_factory=dict)
    scale: Scale = "mini"
    limit: int | None = None
    # of every training, in optimiser steps
    max_steps: int | None = None
    fidelity: Fidelity = "sound"
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"
    rerun: bool = False
    batch_size: int = 32
    # of torch on a CPU; None leaves its own choice
    threads: int | None = None
    # processes that decode and augment training images
    loaders: int = 0
    progress: Progress = field(default_factory=Progress)
    # where datasets are looked for; None looks from the calling folder
    locations: DataLocations | None = None
    _identities: dict[str, BackboneIdentity] = field(default_factory=dict)
    # as typed, for the provenance of scores
    command: str = ""
    _backbones: "dict[str, Backbone]" = field(default_factory=dict)
    _dataset: "Dataset | None" = None

    def identity(self, spec: BackboneSpec) -> BackboneIdentity:
        """Fingerprint, transform and traits; loads the backbone only where no memo can be trusted."""
        if spec.name not in self._identities:
            if memoisable(spec):
                self._identities[spec.name] = identify(spec, self.artifacts)
            else:
                self._identities[spec.name] = self.backbone(spec).identity
        return self._identities[spec.name]

    def backbone(self, spec: BackboneSpec) -> "Backbone":
        """The loaded backbone. Those loaded before are kept, the oldest let go beyond HELD million parameters."""
        if spec.name not in self._backbones:
            self._limit_threads()
            with self.progress.step(f"load {spec.name}", total=1) as advance:
                loaded = load(spec, self.device)
                advance(1)
            room = HELD - loaded.identity.traits.params
            while self._backbones and sum(b.identity.traits.params for b in self._backbones.values()) > room:
                del self._backbones[next(iter(self._backbones))]
            self._backbones[spec.name] = loaded
        return self._backbones[spec.name]

    def _limit_threads(self) -> None:
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)

    def dataset(self, name: str) -> "Dataset":
        """The loaded dataset, cut to the session's limit."""
        if self._dataset is None or self._dataset.name != name:
            whole = datasets.load(name, self.locations)
            self._dataset = whole if self.limit is None else datasets.limit_dataset(whole, self.limit)
        return self._dataset

    def fingerprints(self, name: str) -> dict[str, str]:
        """Role -> fingerprint of the whole dataset, without reading an image where a manifest has them."""
        return datasets.fingerprints(name, self.artifacts, self.locations)


class Gauntlet:
    """Runs settings for one backbone; a suite's `gauntlet` fixture."""

    def __init__(self, spec: BackboneSpec, workspace: Workspace) -> None:
        self.spec = spec
        self.workspace = workspace
        self.outcomes: list[Outcome] = []

    def run(self, recipe: Recipe, dataset: str) -> list[Score]:
        """Measure `recipe` on the dataset of that name, or read its scores from the store.

        Returns one Score a measure. Raises MissingError where data, an extra or a device is absent, BobError where
        it could not be measured.
        """
        locations = self.workspace.locations or default_locations()
        recipe = at_scale(recipe, self.workspace.scale, locations.spec(dataset).overrides)
        if self.workspace.fidelity == "paper":
            recipe = with_fidelity(recipe, "paper")
        kind = locations.user_datasets[dataset].kind if dataset in locations.user_datasets else None
        own = settings.of_user(recipe.id, dataset, kind) if kind else None
        setting = own or settings.find(f"{recipe.id}@{dataset}")
        if setting.planned:
            raise MissingError("planned: its protocol or its data reader is not in this version")
        stamp = self._stamp(recipe, dataset)
        stored = None if self.workspace.rerun else self._stored(setting, stamp)
        if stored is not None:
            self.outcomes.append(Outcome(tuple(stored), "store"))
            return stored
        scores = self._measure(recipe, setting, stamp)
        self.outcomes.append(Outcome(tuple(scores), "measured"))
        return scores

    def _stamp(self, recipe: Recipe, dataset: str) -> dict[str, Any]:
        """The identity fields that all measures of this setting share."""
        identity = self.workspace.identity(self.spec)
        return {
            "setting": f"{recipe.id}@{dataset}",
            "backbone": self.spec.name,
            "backbone_fingerprint": identity.fingerprint,
            "protocol_hash": protocol_hash(recipe),
            "datasets": self.workspace.fingerprints(dataset),
            "transform": identity.input_transform(recipe.input_size).canonical,
            "precision": find_trait(recipe, "precision", lambda device: "float32")(self.workspace.device),
            "limit": self.workspace.limit,
            "max_steps": self.workspace.max_steps,
            "seeds": self.workspace.seeds if recipe.seeded else (0,),
            "device": device_name(self.workspace.device),
            "scale": self.workspace.scale,
            "fidelity": find_trait(recipe, "fidelity", "sound"),
        }

    def _stored(self, setting: settings.Setting, stamp: Mapping[str, Any]) -> list[Score] | None:
        """The stored scores of every measure, or None where one is missing."""
        blanks = [Score(**stamp, metric=m.metric, task=m.task, value=0.0) for m in setting.measures]
        found = [score for blank in blanks if (score := self.workspace.stored.get(blank.identity))]
        wanted = found[0].provenance.get("metrics", []) if found else [None]
        return found if {s.metric for s in found} >= set(wanted) else None

    def _measure(self, recipe: Recipe, setting: settings.Setting, stamp: Mapping[str, Any]) -> list[Score]:
        started, clock = datetime.now(UTC), time.perf_counter()
        backbone, dataset = self.workspace.backbone(self.spec), self.workspace.dataset(setting.dataset)
        context = RunContext(
            artifacts=self.workspace.artifacts,
            device=self.workspace.device,
            seeds=stamp["seeds"],
            batch_size=self.workspace.batch_size,
            loaders=self.workspace.loaders,
            readers=max(2, self.workspace.loaders),
            max_steps=self.workspace.max_steps,
            progress=self.workspace.progress,
        )
        measured = list(recipe.evaluate(backbone, dataset, context))
        shared = {
            "metrics": [m.metric for m in measured],
            "protocol": canonical(recipe),
            "backbone": dict(backbone.identity.details),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 3),
            "threads": self.workspace.threads,
            "command": self.workspace.command,
            **({"unreadable_images": context.unreadable} if context.unreadable else {}),
            **_surroundings(),
        }
        return [self._score(setting, stamp, m, shared) for m in measured]

    def _score(
        self, setting: settings.Setting, stamp: Mapping[str, Any], measured: Measured, shared: Mapping[str, Any]
    ) -> Score:
        task = setting.measure(measured.metric).task
        provenance = {**shared, **measured.details}
        blank = Score(**stamp, metric=measured.metric, task=task, value=float(measured.value))
        if measured.values is not None:
            provenance |= _spread(measured.values, measured.clusters)
            provenance["examples"] = self._keep_examples(blank, measured)
        return Score(**stamp, metric=measured.metric, task=task, value=float(measured.value), provenance=provenance)

    def _keep_examples(self, score: Score, measured: Measured) -> dict[str, Any]:
        """Store the per-example values as an artefact; returns where they are."""
        key = {"identity": [list(pair) for pair in score.identity]}
        values = np.asarray(measured.values, np.float32)
        self.workspace.artifacts.get(
            "examples",
            key,
            lambda: {
                "values": values,
                "ids": _text(measured.examples or ()),
                "clusters": _text(measured.clusters or ()),
            },
        )
        return {"kind": "examples", "key": key}


def _text(names: Sequence[str]) -> np.ndarray:
    """Names as one uint8 array, newline-joined UTF-8."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def _spread(values: np.ndarray, clusters: Sequence[str] | None) -> dict[str, Any]:
    """n, standard error of the mean and how it was got.

    With clusters: the cluster-robust standard error, sqrt(G / (G - 1) * sum over clusters of (sum of deviations)^2)
    / n for G clusters, since crops of one photo are no independent examples.
    """
    n = len(values)
    deviations = np.asarray(values, np.float64) - np.mean(values, dtype=np.float64)
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1] if clusters is not None else np.arange(n)
    count = int(groups.max()) + 1 if n else 0
    if count < 2:
        return {"n": n}
    sums = np.bincount(groups, weights=deviations)
    stderr = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / n)
    how = f"over {count} clusters" if count < n else f"over {n} examples"
    return {"n": n, "stderr": stderr, "stderr_how": how}


@cache
def _surroundings() -> dict[str, Any]:
    """Versions and commit of this process."""
    return {"versions": dict(_versions()), "commit": _commit()}


def _versions() -> Iterator[tuple[str, str]]:
    yield "bob-gauntlet", __version__
    yield "python", platform.python_version()
    for package in (
        "torch",
        "torchvision",
        "timm",
        "numpy",
        "scipy",
        "pillow",
        "scikit-image",
        "scikit-learn",
        "matplotlib",
    ):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _commit() -> str:
    """The commit of the calling folder's git checkout, "" where there is none."""
    try:
        out = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.stdout.strip()
