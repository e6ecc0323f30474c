"""One backbone in one setting: its scores are read from the store, or measured and given their identity.

Nothing heavy is imported until something has to be loaded: a session whose scores are all stored needs no torch.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from bob_gauntlet.backbones.loading import identify, load, memoisable
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.datasets import loading as datasets
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.file_stamps import ChangedFile
from bob_gauntlet.datasets.leaks import find_leaks
from bob_gauntlet.datasets.locations import DataLocations, default_locations
from bob_gauntlet.datasets.manifests import kept_fingerprints, load_dataset
from bob_gauntlet.errors import MissingError, NotFiniteError
from bob_gauntlet.metrics.finite import describe_not_finite
from bob_gauntlet.protocols.recipe import (
    Measured,
    Recipe,
    at_scale,
    canonical,
    find_trait,
    protocol_hash,
    with_fidelity,
)
from bob_gauntlet.runtime.artifacts import ArtifactRef, Artifacts, ExampleValues
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.device_lock import device_lock
from bob_gauntlet.runtime.devices import device_name
from bob_gauntlet.runtime.environment import environment
from bob_gauntlet.runtime.progress import Progress
from bob_gauntlet.runtime.run_config import RunConfig
from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import Identity, Score, identity_of
from bob_gauntlet.scores.settings import Setting, find_setting, setting_on_user_dataset
from bob_gauntlet.stats.standard_error import clustered_standard_error

if TYPE_CHECKING:
    from torch import nn

    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset

Origin = Literal["measured", "store"]

LOADED_PARAMETERS = 500.0
"""Parameters of the backbones that a process keeps loaded, in millions: 2 GB in float32."""


@dataclass(frozen=True)
class SettingResult:
    """The scores of one setting, and whether they were measured now or read from the store."""

    scores: tuple[Score, ...]
    origin: Origin


@dataclass
class Workspace:
    """The objects that a process keeps between settings: stored scores, artefacts, backbones, a dataset."""

    artifacts: Artifacts
    config: RunConfig = field(default_factory=RunConfig)
    # identity -> score; a worker reads the store once at its start
    stored: Mapping[Identity, Score] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    locations: DataLocations = field(default_factory=default_locations)
    # backbone name -> network of the caller's process, for specs of scheme "module"
    networks: "Mapping[str, nn.Module]" = field(default_factory=dict)
    # where the locks are that processes which share a device take while they measure; None: nobody waits
    lock_folder: Path | None = None
    _identities: dict[str, BackboneIdentity] = field(default_factory=dict)
    _backbones: "dict[str, Backbone]" = field(default_factory=dict)
    _dataset: "Dataset | None" = None
    # dataset name -> role -> fingerprint of the whole dataset, as this process saw its files last
    _fingerprints: dict[str, dict[str, str]] = field(default_factory=dict)
    # with `rerun`, content hashes that are older are made again
    _started: int = field(default_factory=time.time_ns)

    def identity(self, spec: BackboneSpec) -> BackboneIdentity:
        """Return fingerprint, transform and traits of a backbone; load it only where no memo can be trusted."""
        if spec.name not in self._identities:
            if memoisable(spec):
                self._identities[spec.name] = identify(spec, self.artifacts)
            else:
                self._identities[spec.name] = self.backbone(spec).identity
        return self._identities[spec.name]

    def backbone(self, spec: BackboneSpec) -> "Backbone":
        """Return the loaded backbone. Earlier ones stay loaded; the oldest go beyond LOADED_PARAMETERS millions."""
        if spec.name not in self._backbones:
            self._limit_threads()
            with self.progress.step(f"load {spec.name}", total=1) as advance:
                loaded = load(spec, self.config.device, self.networks.get(spec.name))
                advance(1)
            room = LOADED_PARAMETERS - loaded.identity.traits.params
            while self._backbones and sum(b.identity.traits.params for b in self._backbones.values()) > room:
                del self._backbones[next(iter(self._backbones))]
            self._backbones[spec.name] = loaded
        return self._backbones[spec.name]

    def device_lock(self, recipe: Recipe) -> AbstractContextManager[None]:
        """Return the lock to hold while `recipe` is measured: alone on the device where the recipe is exclusive."""
        if self.lock_folder is None:
            return nullcontext()
        exclusive = bool(find_trait(recipe, "exclusive", False))
        return device_lock(self.lock_folder, self.config.device, exclusive=exclusive)

    def _limit_threads(self) -> None:
        """Set torch's threads where the configuration names a number."""
        if self.config.threads is not None:
            import torch

            torch.set_num_threads(self.config.threads)

    def dataset(self, name: str) -> "Dataset":
        """Return the loaded dataset, cut to the configured limit. `fingerprints` are those of its files from then on.

        Its images can be read as long as the files stay as they were when it was loaded, so that a score is of the
        data that its fingerprints name.
        """
        if self._dataset is None or self._dataset.name != name:
            hashes = FileHashes(self.artifacts, self.progress, since=self._started if self.config.rerun else 0)
            if name in self._fingerprints:
                whole = datasets.load(name, self.locations, hashes)
            else:
                whole = load_dataset(name, self.artifacts, self.locations, hashes)
            self._fingerprints[name] = whole.fingerprints
            limit = self.config.limit
            self._dataset = whole if limit is None else datasets.limit_dataset(whole, limit)
        return self._dataset

    def fingerprints(self, name: str) -> dict[str, str]:
        """Return role -> fingerprint of the whole dataset, without loading it where a manifest of its files has them.

        The files are looked at once in a process. With `rerun` no manifest is read, and all files are hashed again.
        """
        if not self.knows(name):
            self.dataset(name)
        return self._fingerprints[name]

    def knows(self, name: str) -> bool:
        """Tell whether the fingerprints of a dataset are known, or in a manifest of its files."""
        if name not in self._fingerprints and not self.config.rerun:
            kept = kept_fingerprints(name, self.artifacts, self.locations)
            self._fingerprints |= {} if kept is None else {name: kept}
        return name in self._fingerprints

    def forget(self, name: str) -> None:
        """Forget a dataset whose files have changed, so that its files are looked at again."""
        self._dataset = None
        self._fingerprints.pop(name, None)

    def resolve(self, recipe: Recipe, dataset: str) -> Recipe:
        """Return a recipe as it is measured on a dataset: at the scale and with the fidelity of the configuration."""
        resolved = at_scale(recipe, self.config.scale, self.locations.spec(dataset).overrides)
        return with_fidelity(resolved, "paper") if self.config.fidelity == "paper" else resolved

    def setting(self, protocol: str, dataset: str) -> Setting:
        """Return a protocol on a dataset of the catalog or of the user's own. Raises UsageError for an unknown one."""
        user_dataset = self.locations.user_datasets.get(dataset)
        on_user_dataset = setting_on_user_dataset(protocol, dataset, user_dataset.kind) if user_dataset else None
        return on_user_dataset or find_setting(f"{protocol}@{dataset}")


class Gauntlet:
    """Runs settings for one backbone; a suite's `gauntlet` fixture."""

    def __init__(self, spec: BackboneSpec, workspace: Workspace) -> None:
        self.spec = spec
        self.workspace = workspace
        self.results: list[SettingResult] = []

    def run(self, recipe: Recipe, dataset: str) -> list[Score]:
        """Measure `recipe` on the dataset of that name, or read its scores from the store.

        Returns one Score a measure. Raises MissingError where data, an extra or a device is absent, BobError where
        the setting could not be measured.
        """
        recipe = self.workspace.resolve(recipe, dataset)
        setting = self.workspace.setting(recipe.id, dataset)
        if setting.planned:
            raise MissingError("planned: this version has no protocol or no data reader for it")
        fields = self._identity_fields(recipe, dataset)
        stored = None if self.workspace.config.rerun else self._stored(setting, fields)
        if stored is not None:
            self.results.append(SettingResult(tuple(stored), "store"))
            return stored
        try:
            with self.workspace.device_lock(recipe):
                scores = self._measure(recipe, setting, fields)
        except ChangedFile:
            self.workspace.forget(dataset)
            raise
        self.results.append(SettingResult(tuple(scores), "measured"))
        return scores

    def is_stored(self, recipe: Recipe, dataset: str) -> bool:
        """Tell whether `run` would read its scores from the store; False where a dataset must be loaded to know."""
        workspace = self.workspace
        if workspace.config.rerun or not workspace.knows(dataset):
            return False
        recipe = workspace.resolve(recipe, dataset)
        setting = workspace.setting(recipe.id, dataset)
        return not setting.planned and self._stored(setting, self._identity_fields(recipe, dataset)) is not None

    def _identity_fields(self, recipe: Recipe, dataset: str) -> dict[str, Any]:
        """Return the fields of a Score that all measures of this setting share."""
        identity, config = self.workspace.identity(self.spec), self.workspace.config
        return {
            "setting": f"{recipe.id}@{dataset}",
            "backbone": self.spec.name,
            "backbone_fingerprint": identity.fingerprint,
            "protocol_hash": protocol_hash(recipe),
            "datasets": self.workspace.fingerprints(dataset),
            "transform": identity.input_transform(recipe.input_size).canonical,
            "precision": find_trait(recipe, "precision", lambda device: "float32")(config.device),
            "limit": config.limit,
            "max_steps": config.max_steps,
            "seeds": config.seeds if recipe.seeded else (0,),
            "device": device_name(config.device),
            "scale": config.scale,
            "fidelity": find_trait(recipe, "fidelity", "sound"),
        }

    def _stored(self, setting: Setting, fields: Mapping[str, Any]) -> list[Score] | None:
        """Return the stored scores of every measure that the stored run gave, or None where one is missing.

        They carry the backbone's name of this session, even where the same weights were stored under another one.
        """
        identities = [identity_of({**fields, "metric": m.metric, "task": m.task}) for m in setting.measures]
        scores = [score for identity in identities if (score := self.workspace.stored.get(identity))]
        expected = scores[0].provenance.get("metrics", []) if scores else [None]
        if not {score.metric for score in scores} >= set(expected):
            return None
        return [replace(score, backbone=self.spec.name) for score in scores]

    def _measure(self, recipe: Recipe, setting: Setting, fields: Mapping[str, Any]) -> list[Score]:
        """Evaluate the recipe and return its scores with their provenance."""
        started, clock = datetime.now(UTC), time.perf_counter()
        workspace = self.workspace
        backbone, dataset = workspace.backbone(self.spec), workspace.dataset(setting.dataset)
        # of the files as they were loaded, if they have changed since the store was asked
        fields = {**fields, "datasets": workspace.fingerprints(setting.dataset)}
        config, leaks = workspace.config, find_leaks(dataset)
        context = RunContext(workspace.artifacts, config, fields["seeds"], workspace.progress)
        measured = list(recipe.evaluate(backbone, dataset, context))
        shared = {
            "metrics": [m.metric for m in measured],
            "protocol": canonical(recipe),
            "backbone": dict(backbone.identity.details),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 3),
            "threads": config.threads,
            "command": config.command,
            **({"unreadable_images": context.unreadable.by_role} if context.unreadable.by_role else {}),
            **({"leaks": [leak.to_dict() for leak in leaks]} if leaks else {}),
            **environment(),
        }
        return [self._score(setting, fields, one, shared) for one in measured]

    def _score(
        self, setting: Setting, fields: Mapping[str, Any], measured: Measured, shared: Mapping[str, Any]
    ) -> Score:
        """Return the score of one metric; its per-example values are kept as an artefact.

        Raises NotFiniteError, which names the first examples, where a value is NaN or infinite.
        """
        named = {**fields, "metric": measured.metric, "task": setting.measure(measured.metric).task}
        provenance = {**shared, **measured.details}
        if measured.values is not None:
            if problem := describe_not_finite(measured.values, "values", ids=measured.examples or ()):
                raise NotFiniteError(f"{setting.id}: {measured.metric} of {self.spec.name}: {problem}")
            provenance |= clustered_standard_error(measured.values, measured.clusters)
            provenance["examples"] = self._keep_examples(identity_of(named), measured).to_dict()
        score = Score(**named, value=float(measured.value), provenance=cast(Provenance, provenance))
        # as it will be read from the store: a recipe whose details no reader can use fails here
        return Score.from_dict(score.to_dict())

    def _keep_examples(self, identity: Identity, measured: Measured) -> ArtifactRef:
        """Store the per-example values under the score's identity; return where they are."""
        values = np.asarray(measured.values)
        ids = tuple(measured.examples or map(str, range(len(values))))
        examples = ExampleValues(values, ids, tuple(measured.clusters or ids))
        where = ArtifactRef("examples", {"identity": [list(pair) for pair in identity]})
        schema = ExampleValues.schema(len(values))
        self.workspace.artifacts.get(where.kind, where.key, examples.to_arrays, schema)
        return where
