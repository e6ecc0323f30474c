"""What one session of the gauntlet owns: its options, backbones, store, bench, and what became of every setting.

The process that the user started is the controller: it checks names and files, appends scores to the store and
reports. Under xdist the workers measure; without it the controller does that too.
"""

import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytest

from bob_gauntlet.backbones.resolve import resolve_all
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.config import find_config
from bob_gauntlet.datasets.locations import find_locations
from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.gauntlet import Workspace
from bob_gauntlet.plugin.options import Options
from bob_gauntlet.plugin.progress_bar import LiveProgress
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.ranking.ranking import RankingStatistics
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, ScoreTable
from bob_gauntlet.runtime import devices
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS
from bob_gauntlet.scores.store import Store


@dataclass(frozen=True)
class Entry:
    """What became of one item: as it travels on a test report, plain types only."""

    setting: str
    backbone: str
    outcome: Literal["measured", "store", "skipped", "failed"]
    reason: str = ""
    scores: tuple[Score, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the report of a worker."""
        return {
            "setting": self.setting,
            "backbone": self.backbone,
            "outcome": self.outcome,
            "reason": self.reason,
            "scores": [score.to_dict() for score in self.scores],
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Entry":
        """Read what `to_dict` wrote."""
        return cls(**{**plain, "scores": tuple(Score.from_dict(score) for score in plain["scores"])})


@dataclass
class Session:
    """The state of one process of a session; it lives in `config.stash`."""

    options: Options
    specs: list[BackboneSpec]
    store: Store
    workspace: Workspace
    live: Path
    pool: Pool | None = None
    # item -> what became of it; the last report counts, since a killed item runs twice
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @property
    def scores(self) -> list[Score]:
        """Every score of the session."""
        return [score for entry in self.entries.values() for score in entry.scores]

    @property
    def scores_by_backbone(self) -> dict[str, list[Score]]:
        """Name -> its scores."""
        found: dict[str, list[Score]] = {}
        for score in self.scores:
            found.setdefault(score.backbone, []).append(score)
        return found

    @cached_property
    def ranking_statistics(self) -> RankingStatistics | None:
        """The session's backbones, ordered in its pool over the measures that they have; None without pool or scores.

        Read it only after the last test. The terminal and --bob-report share it, so that the bootstrap runs once.
        """
        if self.pool is None or not self.scores:
            return None
        score_table = ScoreTable.from_pool(self.pool, self.scores_by_backbone, only_measured=True)
        return RankingStatistics(score_table, self.workspace.artifacts, MIN_COVERAGE)

    def record(self, item: str, entry: Entry) -> None:
        """Take note of an item, and store what was measured; a disk that refuses is said, and loses nothing."""
        self.entries[item] = entry
        if entry.outcome != "measured":
            return
        try:
            self.store.append(entry.scores)
        except BobError as error:
            self.problems.append(str(error))

    def close(self) -> None:
        """Try once more to store what the disk refused; what it then refuses stays in `problems`."""
        if self.problems:
            self.problems.clear()
            try:
                self.store.append(())
            except BobError as error:
                self.problems.append(f"{error}; free some space and run again, or keep them by --bob-json FILE")


def open_session(options: Options, start: Path, shared: Mapping[str, Any], *, spreads: bool) -> Session:
    """The session of a process. UsageError for a bad backbone or device, before anything runs.

    `shared` is what the controller told a worker, empty elsewhere; `spreads` says that workers will measure.
    """
    config = find_config(start)
    specs = resolve_all(options.backbones, config, allow_partial=options.allow_partial)
    store = Store(options.store)
    live = Path(shared.get("bob_live") or Path(tempfile.gettempdir()) / f"bob-live-{secrets.token_hex(6)}")
    locations = find_locations(config, start, options.data, download=options.download)
    for name in options.datasets:
        locations.spec(name)
        scales = {scale for setting in SETTINGS.values() if setting.dataset == name for scale in setting.scales}
        if scales and options.scale not in scales:
            raise UsageError(f"--dataset={name}: no setting at {options.scale} scale; add --scale {min(scales)}")
    device = "cpu" if spreads else devices.choose(options.device)
    # of the cores, where several processes measure
    share = max(1, devices.cores() // int(shared.get("bob_workers", 1)))
    workspace = Workspace(
        artifacts=Artifacts(options.cache),
        stored=store.latest(),
        scale=options.scale,  # type: ignore[arg-type]
        limit=options.limit,
        max_steps=options.max_steps,
        fidelity=options.fidelity,  # type: ignore[arg-type]
        seeds=tuple(range(options.seeds)),
        device=device,
        rerun=options.rerun,
        threads=share,
        loaders=1 if device == "cpu" else min(16, share),
        batch_size=32 if device == "cpu" else 128,
        progress=LiveProgress(live / f"{os.getpid()}.json"),
        command=shlex.join(["pytest", *shared.get("mainargv", sys.argv)[1:]]),
        locations=locations,
    )
    return Session(options, specs, store, workspace, live)


def check(session: Session, say: Any) -> None:
    """Everything that can be known before the first forward pass; names that had to be resolved are told to `say`."""
    session.store.check()
    session.live.mkdir(parents=True, exist_ok=True)
    if session.options.pool != "none":
        session.pool = _pool(session.options)
    for spec in session.specs:
        resolved = session.workspace.identity(spec).details.get("resolved")
        if resolved and resolved != spec.target:
            say(f"{spec.name} is {resolved}")


def _pool(options: Options) -> Pool:
    """The pool of a session. UsageError where it is of another scale: its scores are never compared with these."""
    pool = load_pool(options.pool, options.home / "baselines")
    if pool.scale != options.scale:
        raise UsageError(
            f"--bob-pool={options.pool} holds {pool.scale}-scale scores, and this run is at {options.scale} scale: "
            f"never compared; leave --bob-pool out, or run with --scale {pool.scale}"
        )
    return pool


@contextmanager
def alone(folder: Path, device: str, *, exclusive: bool) -> Iterator[None]:
    """Settings run side by side; one that has to be alone on its device waits for those that run, and no other starts.

    Two file locks, which the system frees when their holder dies: one for all who use the device, shared or exclusive,
    and a turnstile before it, which a waiting one keeps shut. A GPU that a worker leased has a lock of its own. Where
    the platform has no such lock, or the folder cannot be written, nobody waits.
    """
    name = device if device == "cpu" else f"gpu-{os.environ.get('CUDA_VISIBLE_DEVICES', device)}"
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        turnstile, users = ((folder / f".{part}-{name.replace('/', '_')}").open("a") for part in ("turnstile", "users"))
    except (ImportError, OSError):
        yield
        return
    with users:
        with turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def require_backbones(node_ids: Sequence[str], options: Options) -> None:
    """UsageError where suites were collected and no backbone was named."""
    if node_ids and not options.backbones:
        raise UsageError(
            "no backbone to judge: add --backbone=efficientnet_lite0, another name of `bob zoo`, or your own "
            "--backbone=timm:NAME@PATH"
        )


MARK = "bob"
"""The marker of the items that are settings."""

KEY: pytest.StashKey[Session] = pytest.StashKey()
"""Where `config.stash` holds the session."""
