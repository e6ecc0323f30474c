"""The timetable of a session: how long each item is expected to take, and all of them together."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bob_gauntlet.errors import BobError
from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.plugin.session import Session
from bob_gauntlet.plugin.units import cheap_first, share_of, timed_units
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.recipe import Recipe, protocol_hash
from bob_gauntlet.scores.durations import Conditions, Durations, ExpectedTime
from bob_gauntlet.scores.score import Score

STORED = 0.02
"""Seconds that reading the scores of a setting takes."""


class Timetable:
    """Expected seconds of the items of a session, by their node ids."""

    def __init__(self, session: Session, *, on_cpu: bool) -> None:
        self.session, self.on_cpu = session, on_cpu
        # processes that measure at the same time
        self.workers = 1
        self.recipes: dict[str, Recipe] = dict(PROTOCOLS)
        self._durations: Durations | None = None
        self._estimates: dict[str, ExpectedTime] = {}
        self._stored: dict[str, bool] = {}
        self._stored_settings = {score.setting for score in session.workspace.stored.values()}

    def know(self, recipes: Iterable[Recipe]) -> None:
        """Take note of the recipes that a process has collected: they may not be those of the catalog."""
        self.recipes.update((recipe.id, recipe) for recipe in recipes)

    def learn(self, scores: Iterable[Score]) -> None:
        """Take note of scores that have just been measured: the settings that are left are estimated anew."""
        for score in scores:
            self._read().add(score)
        self._estimates.clear()

    def seconds(self, node_id: str) -> float:
        """Return the expected duration of an item; little for one that is stored, or measures no setting."""
        nothing_to_do = not parse_node_id(node_id)[1] or self.is_stored(node_id)
        return STORED if nothing_to_do else self.estimate(node_id).seconds

    def is_stored(self, node_id: str) -> bool:
        """Tell whether the scores of an item will be read from the store, as far as that is known."""
        if node_id not in self._stored:
            self._stored[node_id] = self._look_up(node_id)
        return self._stored[node_id]

    def estimate(self, node_id: str) -> ExpectedTime:
        """Return the expected duration of an item whose scores are not stored, and where it comes from."""
        if node_id not in self._estimates:
            backbone, setting = parse_node_id(node_id)
            protocol, _, dataset = setting.partition("@")
            recipe, workspace = self.recipes.get(protocol), self.session.workspace
            seeds = len(workspace.config.seeds) if recipe is not None and recipe.seeded else 1
            digest = "" if recipe is None else protocol_hash(workspace.resolve(recipe, dataset))
            self._estimates[node_id] = self._read().expect(backbone, setting, digest, seeds)
        return self._estimates[node_id]

    def rank_cheap_first(self, items: Sequence[str]) -> dict[str, int]:
        """Return item -> its place in a serial run, in which cheap items come first."""
        return {item: place for place, item in enumerate(cheap_first(items, self.seconds))}

    def total(self, items: Sequence[str]) -> float:
        """Return the seconds that the workers take for some items."""
        units = timed_units(items, self.seconds)
        shares = [share_of(worker, [0.0] * self.workers, units) for worker in range(self.workers)]
        return max(sum(unit.seconds for unit in share) for share in shares)

    def lines(self, items: Sequence[str]) -> Iterator[str]:
        """Yield a line that says how long the items are expected to take; none where all of them are stored."""
        left = [item for item in items if parse_node_id(item)[1] and not self.is_stored(item)]
        estimates = [self.estimate(item) for item in left]
        if not estimates:
            return
        sources = {estimate.source for estimate in estimates}
        where = f" on {self.workers} workers" if self.workers > 1 else ""
        if sources == {"guess"}:
            yield f"expected time{where}: not known, since no durations of these settings are stored"
            return
        pool = self.session.pool
        names = {"store": "your scores", "pool": f"pool {pool.name}" if pool else ""}
        origin = " and ".join(name for source, name in names.items() if source in sources)
        guessed = sum(estimate.source == "guess" for estimate in estimates)
        rest = f"; {guessed} of {len(estimates)} settings are guessed" if guessed else ""
        yield f"expected time{where}: about {roughly(self.total(items))}, from durations of {origin}{rest}"

    def _read(self) -> Durations:
        """Return the durations of the store and the pool, which are read at the first call."""
        if self._durations is None:
            workspace, pool = self.session.workspace, self.session.pool
            of_pool: Mapping[str, Mapping[tuple[str, str], Score]] = pool.scores if pool else {}
            conditions = Conditions(workspace.config.limit, workspace.config.max_steps, self.on_cpu)
            baselines = (score for scores in of_pool.values() for score in scores.values())
            self._durations = Durations(workspace.stored.values(), baselines, conditions)
        return self._durations

    def _look_up(self, node_id: str) -> bool:
        """Ask the store for an item's scores."""
        backbone, setting = parse_node_id(node_id)
        protocol, _, dataset = setting.partition("@")
        spec = next((spec for spec in self.session.specs if spec.name == backbone), None)
        workspace = self.session.workspace
        if spec is None or protocol not in self.recipes or setting not in self._stored_settings:
            return False
        try:
            if dataset in workspace.locations.user_datasets:
                workspace.fingerprints(dataset)
            return Gauntlet(spec, workspace).is_stored(self.recipes[protocol], dataset)
        except BobError:
            # its test will say what is wrong
            return False


def roughly(seconds: float) -> str:
    """Return a duration that is not known better than to a tenth or so, rounded up.

    >>> roughly(3), roughly(84), roughly(290), roughly(5000), roughly(50_000)
    ('10 s', '90 s', '5 min', '84 min', '14 h')
    """
    if seconds <= 120:
        return f"{max(1, math.ceil(seconds / 10)) * 10} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{math.ceil(seconds / 3600)} h"
