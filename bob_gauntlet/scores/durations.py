"""Expected durations of settings, from the durations that were stored with earlier scores and with the pool's.

A setting may have computed features or trained a network that others of its unit read. So the sum over a unit is right,
and a single setting may be off.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bob_gauntlet.scores.score import Score

Source = Literal["store", "pool", "guess"]

LONGEST = 366 * 86_400.0
"""A stored duration above this many seconds is not believed."""

UNKNOWN = 60.0
"""Seconds that are expected of a setting while nothing at all is known."""

_LEAST_RATIOS = 3
"""Settings that two backbones need in common before their durations are compared."""

_LEAST_SECONDS = 1.0
"""Shorter durations are not compared: they are mostly the reading of files."""


@dataclass(frozen=True)
class ExpectedTime:
    """The seconds that a setting is expected to take, and where they come from."""

    seconds: float
    # "store": measured here; "pool": of other backbones, scaled; "guess": of other settings or of a longer run
    source: Source


@dataclass(frozen=True)
class Conditions:
    """The conditions of a run under which durations are comparable."""

    limit: int | None = None
    max_steps: int | None = None
    on_cpu: bool = True

    @classmethod
    def of(cls, score: Score) -> "Conditions":
        """Return the conditions under which a score was measured."""
        return cls(score.limit, score.max_steps, score.device.startswith("cpu"))


class Durations:
    """Expected seconds of every backbone in every setting, for runs under the same conditions.

    `stored` are the user's scores, oldest first, and `pool` are baselines; a duration that is no plain positive number
    of seconds is ignored.

    >>> score = Score(setting="knn@photos", metric="top1", task="Cls", value=80.0, backbone="x", device="cpu",
    ...     provenance={"seconds": 4.0})
    >>> Durations([score], []).expect("x", "knn@photos")
    ExpectedTime(seconds=4.0, source='store')
    """

    def __init__(self, stored: Iterable[Score], pool: Iterable[Score], conditions: Conditions | None = None) -> None:
        self.conditions = conditions or Conditions()
        # setting -> backbone -> protocol hash -> seconds of one seed; the last one counts
        self._seconds: dict[str, dict[str, dict[str, float]]] = {}
        for score in stored:
            if Conditions.of(score) == self.conditions:
                self.add(score)
        of_pool: dict[str, list[float]] = {}
        for score in pool:
            if (seconds := seconds_of(score)) is not None:
                of_pool.setdefault(score.setting, []).append(seconds)
        self._pool = {setting: statistics.median(values) for setting, values in of_pool.items()}

    def add(self, score: Score) -> None:
        """Take note of the duration of a score that has just been measured."""
        if (seconds := seconds_of(score)) is not None:
            by_hash = self._seconds.setdefault(score.setting, {}).setdefault(score.backbone, {})
            by_hash.pop(score.protocol_hash, None)
            by_hash[score.protocol_hash] = seconds

    def expect(self, backbone: str, setting: str, protocol_hash: str = "", seeds: int = 1) -> ExpectedTime:
        """Return the expected duration of a backbone in a setting, of its present protocol where that was measured."""
        by_backbone = self._seconds.get(setting, {})
        if by_hash := by_backbone.get(backbone):
            return ExpectedTime(seeds * by_hash.get(protocol_hash, _last(by_hash)), "store")
        if by_backbone:
            return ExpectedTime(seeds * statistics.median(map(_last, by_backbone.values())), "store")
        factor = self._factor(backbone)
        if setting in self._pool:
            as_in_pool = self.conditions == Conditions()
            return ExpectedTime(seeds * factor * self._pool[setting], "pool" if as_in_pool else "guess")
        return ExpectedTime(seeds * factor * self._guess(setting.partition("@")[0]), "guess")

    def _factor(self, backbone: str) -> float:
        """Return how many times longer settings take here than in the pool: of this backbone, else of all."""
        ratios: dict[str, list[float]] = {}
        for setting, by_backbone in self._seconds.items():
            if self._pool.get(setting, 0.0) >= _LEAST_SECONDS:
                for name, by_hash in by_backbone.items():
                    ratios.setdefault(name, []).append(_last(by_hash) / self._pool[setting])
        for candidates in (ratios.get(backbone, []), [ratio for of_one in ratios.values() for ratio in of_one]):
            if len(candidates) >= _LEAST_RATIOS:
                return statistics.median(candidates)
        return 1.0

    def _guess(self, protocol: str) -> float:
        """Return the median duration of a protocol on other datasets, else that of every setting."""
        measured = {setting: statistics.median(map(_last, by.values())) for setting, by in self._seconds.items()}
        known = {**self._pool, **measured}
        of_protocol = [seconds for setting, seconds in known.items() if setting.partition("@")[0] == protocol]
        return statistics.median(of_protocol or list(known.values()) or [UNKNOWN])


def _last(by_hash: dict[str, float]) -> float:
    """Return the duration that was stored last."""
    return next(reversed(by_hash.values()))


def seconds_of(score: Score) -> float | None:
    """Return the stored duration of a score for one seed; None where it is absent or absurd."""
    value: object = score.provenance.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / max(1, len(score.seeds)) if math.isfinite(value) and 0 <= value <= LONGEST else None
