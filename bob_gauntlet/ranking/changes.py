"""The changes since an earlier run: each measure of a backbone before and after."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bob_gauntlet.pools.pool import index_scores
from bob_gauntlet.scores.score import METRICS, Score, difference


@dataclass(frozen=True)
class Change:
    """One measure of one backbone in two runs; the value of a run that did not measure it is None."""

    backbone: str
    setting: str
    metric: str
    before: float | None
    after: float | None
    # why the two values must not be compared; "" where they may be
    why_not: str = ""

    @property
    def delta(self) -> float | None:
        """After minus before, in the metric's unit; None where the two cannot be compared."""
        if self.before is None or self.after is None or self.why_not:
            return None
        return self.after - self.before

    @property
    def better(self) -> bool | None:
        """Whether the later value is better; None where nothing changed or the two cannot be compared."""
        return None if not self.delta else self.delta * METRICS[self.metric].sign > 0


def why_not_compared(a: Score, b: Score) -> str:
    """Return why the values of two scores must not be compared; "" where they may be.

    >>> latency = {"setting": "efficiency@noise", "metric": "latency", "task": "Eff", "backbone": "mine"}
    >>> why_not_compared(Score(**latency, value=5.0, device="cpu: A"), Score(**latency, value=6.0, device="cpu: B"))
    'device differs'
    """
    field = difference(a, b)
    if field is not None:
        return f"{field} differs"
    return "the machine was not quiet" if a.not_quiet or b.not_quiet else ""


def list_changes(before: Iterable[Score], after: Sequence[Score]) -> list[Change]:
    """Return the changes of the backbones in `after`, a Change per measure.

    A measure that only one of the two runs has is listed, too.
    """
    scores_before = index_scores(before)
    changes = []
    for backbone, new_scores in index_scores(after).items():
        old_scores = scores_before.get(backbone, {})
        for measure in dict.fromkeys((*new_scores, *old_scores)):
            old, new = old_scores.get(measure), new_scores.get(measure)
            changes.append(
                Change(
                    backbone,
                    *measure,
                    before=old.value if old else None,
                    after=new.value if new else None,
                    why_not=why_not_compared(old, new) if old and new else "",
                )
            )
    return changes
