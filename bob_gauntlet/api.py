"""The Python API: `import bob_gauntlet as bob`, then `bob.evaluate`, `bob.scores`, `bob.ranking`, `bob.compare`.

Everything runs on the same engine and in the same store as `pytest suites/`: what one has measured, the other reads.
Results are pandas DataFrames; docs/api.md describes their columns. torch and pandas are imported at the first call.
"""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bob_gauntlet.backbones.checkpoints import first_line
from bob_gauntlet.backbones.resolve import declared_transform, resolve
from bob_gauntlet.backbones.spec import BackboneSpec, wanted_size
from bob_gauntlet.config import UserConfig, bob_folder, find_config
from bob_gauntlet.datasets.leaks import leak_lines
from bob_gauntlet.datasets.locations import find_locations
from bob_gauntlet.errors import BobError, MissingError, UsageError, nearest
from bob_gauntlet.gauntlet import Gauntlet, Workspace
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.protocols.patterns import match_settings
from bob_gauntlet.ranking.selection import select_backbones
from bob_gauntlet.runtime import devices
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.caller_state import preserve_caller_state
from bob_gauntlet.runtime.progress import LineProgress, Progress
from bob_gauntlet.runtime.run_config import RunConfig
from bob_gauntlet.runtime.threads import bounded_waiting
from bob_gauntlet.scores.score import Fidelity, Scale, Score
from bob_gauntlet.scores.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

PathLike = str | os.PathLike[str]

log = logging.getLogger(__name__)


def evaluate(
    backbone: "str | nn.Module", settings: str | Sequence[str] = ("linear-probe@digits", "retrieval@*"), *,
    name: str | None = None, scale: Scale = "mini", store: PathLike | None = None, cache: PathLike | None = None,
    data: PathLike | None = None, device: "str | torch.device" = "auto", seeds: int = 1, limit: int | None = None,
    max_steps: int | None = None, fidelity: Fidelity = "sound", rerun: bool = False, size: int | None = None,
    mean: Sequence[float] | None = None, std: Sequence[float] | None = None, interpolation: str | None = None,
    crop_pct: float | None = None, progress: bool | None = None,
) -> "pd.DataFrame":  # fmt: skip
    """Measure a backbone in some settings, or read their scores from the store; return one row a score.

    `backbone` is a SPEC as after `--backbone`, or a network of yours, which is copied and needs a `name`. `settings`
    are ids, or shell patterns of ids. Units are those of the column `unit`; `size` is in pixels. A setting whose data
    is missing is skipped, and one that fails does not stop the others: a warning gives the reason, and so do
    `attrs["skipped"]` and `attrs["failed"]`. Every option is described in docs/api.md.

    Raises UsageError for a wrong argument before anything runs, and BobError where every setting failed.

    >>> evaluate("random:test_resnet", "knn@digits", limit=24)["metric"].tolist()
    ['top1', 'top5']
    """
    transform = {"size": size, "mean": mean, "std": std, "interpolation": interpolation, "crop_pct": crop_pct}
    config, home = find_config(Path.cwd()), bob_folder(Path.cwd())
    spec, network = _identify(backbone, name, transform, config)
    spec = replace(spec, wanted_size=wanted_size(scale))
    locations = find_locations(config, Path.cwd(), Path(data) if data is not None else None)
    run = _run_config(scale, fidelity, limit, max_steps, seeds, rerun, _choose_device(str(device), network))
    kinds = {name: dataset.kind for name, dataset in locations.user_datasets.items()}
    pairs = match_settings([settings] if isinstance(settings, str) else list(settings), scale, kinds)
    stored = _open_store(store)
    stored.check()
    artifacts = Artifacts(Path(cache) if cache is not None else home / "artifacts")
    networks = {} if network is None else {spec.name: network}
    workspace = Workspace(artifacts, run, stored.latest(), _progress(progress), locations, networks, lock_folder=home)
    with preserve_caller_state(), bounded_waiting():
        evaluation = _Evaluation(spec, workspace, stored)
        evaluation.run(pairs)
    return evaluation.frame()


def scores(store: PathLike | None = None) -> "pd.DataFrame":
    """Return every stored score, one row each: of each measurement and backbone name the newest.

    `store` is a folder, by default the nearest `.bob/store` from the current folder upwards. Values are in the unit of
    the column `unit`. The frame has no rows where nothing is stored.

    >>> scores("empty-folder").empty
    True
    """
    from bob_gauntlet.report.frames import score_frame

    return score_frame(list({(s.identity, s.backbone): s for s in _open_store(store)}.values()))


def ranking(
    pool: str = "mini",
    backbones: str | Sequence[str] = (),
    *,
    task: str | None = None,
    members: bool = False,
    store: PathLike | None = None,
) -> "pd.DataFrame":
    """Rank the backbones of a pool, and your own from the store; return one row a backbone, best first.

    The numbers are those of `bob rank`: `pool` is a name or a folder of baselines, `task` ranks by one task instead of
    All, and `members` ranks all members of the pool instead of its candidates. z-scores are in standard deviations of
    the pool. Raises UsageError for an unknown pool, task or backbone.

    >>> ranking("paper-small").loc[0, "title"]
    'ConvNeXt-Tiny supervised (IN-1k)'
    """
    from bob_gauntlet.ranking.ranking import rank
    from bob_gauntlet.report.frames import ranking_frame

    loaded, own_scores, highlighted = _select(pool, [backbones] if isinstance(backbones, str) else backbones, store)
    artifacts = Artifacts(bob_folder(Path.cwd()) / "artifacts")
    options: dict[str, Any] = {"task": task, "members": members, "artifacts": artifacts}
    return ranking_frame(rank(loaded, own_scores, highlighted_members=highlighted, **options))


def compare(a: str, b: str, *, pool: str = "mini", store: PathLike | None = None) -> "pd.DataFrame":
    """Compare two backbones of the store or of a pool; return one row a measure that one of them has.

    `difference` is the value of `a` less that of `b`, in the unit of the column `unit`; it is empty where the two must
    not be compared, and `why_not` says why. A backbone that is in the store and in the pool is read from the store.
    Raises UsageError for an unknown pool or backbone.

    >>> compare("resnet-simclr", "resnet-supervised").query("metric == 'ece'")["better"].unique().tolist()
    ['resnet-supervised']
    """
    from bob_gauntlet.report.frames import comparison_frame

    loaded, own_scores, _ = _select(pool, [a, b], store)
    scores_of = {name: own_scores.get(name) or list(loaded.scores.get(name, {}).values()) for name in (a, b)}
    return comparison_frame(a, b, scores_of[a], scores_of[b])


class _Evaluation:
    """One call of `evaluate`: the scores of its settings, and the reasons of those that have none."""

    def __init__(self, spec: BackboneSpec, workspace: Workspace, store: Store) -> None:
        self.gauntlet = Gauntlet(spec, workspace)
        self.store = store
        self.stored_names = {(score.identity, score.backbone) for score in store}
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.problems: list[str] = []
        self.error: Exception | None = None

    def run(self, pairs: Sequence[tuple[Any, str]]) -> None:
        """Run every setting; store its scores as soon as it ends. Raises UsageError where the backbone is wrong."""
        workspace, spec = self.gauntlet.workspace, self.gauntlet.spec
        try:
            identity = workspace.identity(spec)
        except BobError:
            raise
        except Exception as error:  # the user's network may raise anything when its weights are read
            raise UsageError(f"{spec.name} cannot be read: {type(error).__name__}: {first_line(error)}") from error
        for note in (*identity.details.get("notes", ()), identity.describe_input(workspace.config.scale)):
            log.info("%s: %s", spec.name, note)
        for warning in identity.list_warnings(workspace.config.scale):
            warnings.warn(f"{spec.name}: {warning}", stacklevel=3)
        for recipe, dataset in pairs:
            setting = f"{recipe.id}@{dataset}"
            if isinstance(workspace.progress, LineProgress):
                workspace.progress.setting = setting
            try:
                self._store(self.gauntlet.run(recipe, dataset))
            except MissingError as error:
                self.skipped[setting] = str(error)
            except Exception as error:  # the user's network may raise anything in its forward pass
                log.info("%s failed", setting, exc_info=True)
                kind = "" if isinstance(error, BobError) else f"{type(error).__name__}: "
                self.failed[setting] = f"{kind}{first_line(error)}"
                self.error = self.error or error

    def frame(self) -> "pd.DataFrame":
        """Return the scores; warn of what was skipped, failed or not stored. Raises BobError where all failed."""
        from bob_gauntlet.report.frames import score_frame

        results = self.gauntlet.results
        if self.failed and not results:
            setting, reason = next(iter(self.failed.items()))
            raise BobError(f"no setting could be measured; {setting}: {reason}") from self.error
        reasons = [f"{setting} is skipped: {reason}" for setting, reason in self.skipped.items()]
        reasons += [f"{setting} failed: {reason}" for setting, reason in self.failed.items()]
        scores = [score for result in results for score in result.scores]
        for reason in reasons + leak_lines(scores) + self.problems:
            warnings.warn(reason, stacklevel=3)
        frame = score_frame(scores)
        frame["origin"] = [result.origin for result in results for _ in result.scores]
        frame.attrs |= {"skipped": self.skipped, "failed": self.failed}
        return frame

    def _store(self, scores: Sequence[Score]) -> None:
        """Append the scores of one setting, also those that the store has under another name of the same weights."""
        measured = self.gauntlet.results[-1].origin == "measured"
        try:
            self.store.append(s for s in scores if measured or (s.identity, s.backbone) not in self.stored_names)
        except BobError as error:
            self.problems = [str(error)]


def _identify(
    backbone: "str | nn.Module", name: str | None, transform: Mapping[str, Any], config: UserConfig
) -> "tuple[BackboneSpec, nn.Module | None]":
    """Return the spec of a SPEC or of a network, and the network. Raises UsageError where an argument is wrong."""
    if name is not None and (not name.strip() or name.splitlines() != [name]):
        raise UsageError(f"name={name!r}: has to be a text of one line")
    given = {key: _plain(value) for key, value in transform.items() if value is not None}
    if isinstance(backbone, str):
        spec = resolve(backbone, config)
        declared = declared_transform(name or spec.name, given, "bob.evaluate")
        return replace(spec, name=name or spec.name, transform={**spec.transform, **declared}), None
    from torch import nn

    if not isinstance(backbone, nn.Module):
        raise UsageError(f"evaluate takes a SPEC or an nn.Module, not {type(backbone).__name__}")
    if name is None:
        raise UsageError("a module has no name of its own; pass one, such as name='mymodel-epoch-3'")
    from bob_gauntlet.backbones.modules import unwrap
    from bob_gauntlet.backbones.source_code import qualified_name

    network = unwrap(backbone)
    declared = declared_transform(name, given, "bob.evaluate")
    target = qualified_name(type(network))
    return BackboneSpec(name=name, text=name, scheme="module", target=target, transform=declared), network


def _plain(value: Any) -> Any:
    """Return an array, a tensor or a tuple as a list; any other value as it is."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _run_config(
    scale: Scale, fidelity: Fidelity, limit: Any, max_steps: Any, seeds: Any, rerun: bool, device: str
) -> RunConfig:
    """Return the configuration of a run. Raises UsageError that names a wrong argument and what it may be."""
    for name, value, choices in (("scale", scale, get_args(Scale)), ("fidelity", fidelity, get_args(Fidelity))):
        if value not in choices:
            raise UsageError(f"{name}={value!r}: has to be {' or '.join(choices)}{nearest(str(value), choices)}")
    for name, value, least in (("limit", limit, 2), ("max_steps", max_steps, 1), ("seeds", seeds, 1)):
        if value is not None and (type(value) is not int or value < least):
            raise UsageError(f"{name}={value!r}: has to be a whole number from {least}")
    on_cpu = device == "cpu"
    return RunConfig(
        scale=scale, fidelity=fidelity, limit=limit, max_steps=max_steps, seeds=tuple(range(seeds or 1)),
        device=device, rerun=rerun, batch_size=32 if on_cpu else 128,
        loader_processes=0 if on_cpu else min(16, devices.cores()), command=shlex.join(["python", *sys.argv]),
    )  # fmt: skip


def _choose_device(wanted: str, network: "nn.Module | None") -> str:
    """Return the device to measure on: for `auto` and `cuda` the GPU on which the network is, else the first one."""
    if wanted.startswith("cuda:"):
        return wanted
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device={wanted!r}: has to be auto, cpu, cuda or cuda:0, cuda:1, ...")
    tensors = [] if network is None else [*network.parameters(), *network.buffers()]
    if wanted != "cpu" and tensors and tensors[0].device.type == "cuda":
        return str(tensors[0].device)
    return devices.choose(wanted)


def _progress(wanted: bool | None) -> Progress:
    """Return a progress line on standard error where it is wanted, by default on a terminal only."""
    shown = sys.stderr.isatty() if wanted is None else wanted
    return LineProgress(sys.stderr) if shown else Progress()


def _open_store(store: PathLike | None) -> Store:
    """Return the store in a folder, by default the nearest `.bob/store` from the current folder upwards."""
    return Store(Path(store) if store is not None else bob_folder(Path.cwd()) / "store")


def _select(pool: str, names: Sequence[str], store: PathLike | None) -> tuple[Pool, dict[str, list[Score]], list[str]]:
    """Return a pool, the stored scores of those backbones that are stored, and the names that only the pool has."""
    loaded = load_pool(str(pool), bob_folder(Path.cwd()) / "baselines")
    return loaded, *select_backbones(_open_store(store), list(dict.fromkeys(names)), loaded.members)
