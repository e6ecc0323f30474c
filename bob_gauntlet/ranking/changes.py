"""What changed since a compared run: each measure of a backbone before and after."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.scores.score import METRICS, Score, difference


@dataclass(frozen=True)
class Change:
    """One measure of one backbone in two runs; a side that was not measured is None."""

    backbone: str
    setting: str
    metric: str
    before: float | None
    after: float | None
    # why the two must not be compared, "" where they may be
    why_not: str = ""

    @property
    def delta(self) -> float | None:
        """After less before in the metric's unit; None where there is nothing to compare."""
        if self.before is None or self.after is None or self.why_not:
            return None
        return self.after - self.before

    @property
    def better(self) -> bool | None:
        """Whether the change is for the better; None where nothing changed or nothing is compared."""
        return None if not self.delta else self.delta * METRICS[self.metric].sign > 0


def list_changes(before: Iterable[Score], after: Sequence[Score]) -> list[Change]:
    """Measure by measure, of the backbones that were measured now; one that only one run has is listed too."""
    old = _by_backbone(before)
    found = []
    for backbone, new in _by_backbone(after).items():
        past = old.get(backbone, {})
        for measure in dict.fromkeys((*new, *past)):
            a, b = past.get(measure), new.get(measure)
            field = difference(a, b) if a and b else None
            found.append(
                Change(
                    backbone,
                    *measure,
                    before=a.value if a else None,
                    after=b.value if b else None,
                    why_not=f"{field} differs" if field else "",
                )
            )
    return found


def _by_backbone(scores: Iterable[Score]) -> Mapping[str, dict[MeasureKey, Score]]:
    found: dict[str, dict[MeasureKey, Score]] = {}
    for score in scores:
        found.setdefault(score.backbone, {})[score.measure] = score
    return found
