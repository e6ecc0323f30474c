"""One session of the gauntlet: its options, backbones, store, workspace, and the outcome of every setting.

The process that the user started is the controller: it checks names and files, appends scores to the store and
reports. Under xdist the workers measure; without it the controller does that too.
"""

import os
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bob_gauntlet.backbones.resolve import resolve_all
from bob_gauntlet.backbones.spec import BackboneSpec, wanted_size
from bob_gauntlet.config import find_config
from bob_gauntlet.datasets.locations import DataLocations, find_locations
from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.gauntlet import Workspace
from bob_gauntlet.plugin.outcome import ItemOutcome
from bob_gauntlet.plugin.progress_bar import ProgressFile
from bob_gauntlet.plugin.session_options import SessionOptions
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.ranking.ranking import RankingStatistics
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, ScoreTable
from bob_gauntlet.runtime import devices, limits
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.run_config import RunConfig
from bob_gauntlet.runtime.threads import chosen_threads
from bob_gauntlet.runtime.warning_collector import WarningCollector
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS
from bob_gauntlet.scores.store import Store


@dataclass
class Session:
    """The state of one process of a session; it lives in `config.stash`."""

    options: SessionOptions
    specs: list[BackboneSpec]
    store: Store
    workspace: Workspace
    # where every process says how far it is
    progress_folder: Path
    pool: Pool | None = None
    # node id -> outcome; the last report counts, since an item whose worker died runs twice
    outcomes: dict[str, ItemOutcome] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    # warnings about cache, store and trainings; in the controller also those of the workers
    warnings: WarningCollector = field(default_factory=WarningCollector)
    started: float = field(default_factory=time.time)

    @property
    def scores(self) -> list[Score]:
        """Every score of the session."""
        return [score for outcome in self.outcomes.values() for score in outcome.scores]

    @property
    def scores_by_backbone(self) -> dict[str, list[Score]]:
        """Backbone name -> its scores."""
        by_backbone: dict[str, list[Score]] = {}
        for score in self.scores:
            by_backbone.setdefault(score.backbone, []).append(score)
        return by_backbone

    @cached_property
    def ranking_statistics(self) -> RankingStatistics | None:
        """The session's backbones, ordered in its pool over the measures that they have; None without pool or scores.

        Read it only after the last test. The terminal and --bob-report share it, so that it is computed once.
        """
        if self.pool is None or not self.scores:
            return None
        score_table = ScoreTable.from_pool(self.pool, self.scores_by_backbone, only_measured=True)
        return RankingStatistics(score_table, self.workspace.artifacts, MIN_COVERAGE)

    def record(self, node_id: str, outcome: ItemOutcome) -> None:
        """Keep the outcome of an item and store what was measured; a disk that refuses is reported at the end."""
        self.outcomes[node_id] = outcome
        if outcome.outcome != "measured":
            return
        try:
            self.store.append(outcome.scores)
        except BobError as error:
            self.problems.append(str(error))

    def close(self) -> None:
        """Put the outcomes in the order of reports, whatever ran first; try once more to store what the disk refused.

        What the disk refuses again stays in `problems`.
        """
        names, settings = [spec.name for spec in self.specs], list(SETTINGS)

        def place(outcome: ItemOutcome) -> tuple[int, int]:
            backbone, setting = outcome.backbone, outcome.setting
            return (
                names.index(backbone) if backbone in names else len(names),
                settings.index(setting) if setting in settings else len(settings),
            )

        self.outcomes = dict(sorted(self.outcomes.items(), key=lambda item: place(item[1])))
        if self.problems:
            self.problems.clear()
            try:
                self.store.append(())
            except BobError as error:
                self.problems.append(f"{error}; free some space and run again, or keep them by --bob-json FILE")

    def measure_here(self) -> None:
        """Let this process measure, which so far was meant to hand out its tests."""
        self.workspace.config = _run_config(self.options, {}, hands_out=False)

    def delete_progress_files(self) -> None:
        """Delete the folder in which the processes say how far they are."""
        shutil.rmtree(self.progress_folder, ignore_errors=True)


def open_session(options: SessionOptions, start: Path, shared: Mapping[str, Any], *, hands_out: bool) -> Session:
    """Return the session of a process that starts in `start`.

    `shared` is what the controller told a worker, empty elsewhere; `hands_out` says that workers will measure. Raises
    UsageError for a bad backbone, dataset or device, before anything runs.
    """
    config = find_config(start)
    specs = resolve_all(options.backbones, config, allow_partial=options.allow_partial)
    specs = [replace(spec, wanted_size=wanted_size(options.run.scale)) for spec in specs]
    store = Store(options.store)
    temporary = Path(tempfile.gettempdir()) / f"bob-live-{secrets.token_hex(6)}"
    progress_folder = Path(shared.get("bob_live") or temporary)
    locations = find_locations(config, start, options.data, download=options.download)
    _check_datasets(options, locations)
    workspace = Workspace(
        artifacts=Artifacts(options.cache),
        config=_run_config(options, shared, hands_out=hands_out),
        stored=store.latest(),
        progress=ProgressFile(progress_folder / f"{os.getpid()}.json"),
        locations=locations,
        lock_folder=options.home,
    )
    return Session(options, specs, store, workspace, progress_folder)


def uses_gpus(options: SessionOptions) -> bool:
    """Tell whether a session measures on GPUs."""
    return options.device != "cpu" and bool(devices.visible_gpus(os.environ, devices.present_gpus()))


def lease_gpu() -> Any:
    """Lease one of the visible GPUs for this process; the lease lasts as long as the returned lock."""
    return devices.lease_gpu(devices.visible_gpus(os.environ, devices.present_gpus()))


def _run_config(options: SessionOptions, shared: Mapping[str, Any], *, hands_out: bool) -> RunConfig:
    """Return what was asked for, and how this process carries it out: device, threads, batch size."""
    device = "cpu" if hands_out else devices.choose(options.device)
    # of the cores, where several processes measure
    share = max(1, limits.usable_cores() // int(shared.get("bob_workers", 1)))
    loader_processes = int(share > 1) if device == "cpu" else min(16, share)
    return replace(
        options.run,
        device=device,
        threads=chosen_threads(os.environ) or share,
        loader_processes=loader_processes,
        reader_threads=min(2, share) if device == "cpu" else max(2, loader_processes),
        batch_size=32 if device == "cpu" else 128,
        command=shlex.join(["pytest", *shared.get("mainargv", sys.argv)[1:]]),
    )


def _check_datasets(options: SessionOptions, locations: DataLocations) -> None:
    """Raise UsageError for a dataset of --dataset that is unknown or has no setting at this scale."""
    for name in options.choice.datasets:
        locations.spec(name)
        scales = {scale for setting in SETTINGS.values() if setting.dataset == name for scale in setting.scales}
        if scales and options.run.scale not in scales:
            raise UsageError(f"--dataset={name}: no setting at {options.run.scale} scale; add --scale {min(scales)}")


def check(session: Session, say: Callable[[str], Any]) -> None:
    """Check everything that can be known before anything is measured; tell `say` what a backbone is made of.

    That is what an untagged name resolved to, which network of a checkpoint is used, what of it is left over, how
    images become the backbone's input, and what may differ from what the user expects.

    Raises UsageError for a store that cannot be written, a pool of another scale, a backbone that cannot be loaded.
    """
    session.store.check()
    session.progress_folder.mkdir(parents=True, exist_ok=True)
    if session.options.pool != "none":
        session.pool = _pool(session.options)
    for spec in session.specs:
        identity, scale = session.workspace.identity(spec), session.options.run.scale
        if (resolved := identity.details.get("resolved")) and resolved != spec.target:
            say(f"{spec.name} is {resolved}")
        for note in (*identity.details.get("notes", ()), identity.describe_input(scale)):
            say(f"{spec.name}: {note}")
        for warning in identity.list_warnings(scale):
            say(f"! {spec.name}: {warning}")


def _pool(options: SessionOptions) -> Pool:
    """Return the pool to rank against. Raises UsageError where it is of another scale."""
    pool, scale = load_pool(options.pool, options.home / "baselines"), options.run.scale
    if pool.scale != scale:
        raise UsageError(
            f"--bob-pool={options.pool} holds {pool.scale}-scale scores, and this run is at {scale} scale: the two are "
            f"never compared; leave --bob-pool out, or run with --scale {pool.scale}"
        )
    return pool
