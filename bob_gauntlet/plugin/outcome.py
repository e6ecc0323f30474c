"""The outcome of one test that measures a setting, as it travels from a worker to the controller."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from bob_gauntlet.scores.score import Score

if TYPE_CHECKING:
    from bob_gauntlet.gauntlet import Gauntlet

Kind = Literal["measured", "store", "skipped", "failed"]


@dataclass(frozen=True)
class ItemOutcome:
    """The outcome of one item: measured now, read from the store, skipped or failed, and the scores that it gave."""

    setting: str
    backbone: str
    outcome: Kind
    # of a skip or a failure, one line
    reason: str = ""
    scores: tuple[Score, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for a test report: the inverse of `from_dict`."""
        return {**vars(self), "scores": [score.to_dict() for score in self.scores]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{**plain, "scores": tuple(Score.from_dict(score) for score in plain["scores"])})


def outcome_of(report: Any, reason: str, setting: str, backbone: str, gauntlet: "Gauntlet | None") -> ItemOutcome:
    """Return the outcome that pytest's report of an item stands for; `gauntlet` is None where setup failed."""
    results = gauntlet.results if gauntlet is not None else []
    scores = tuple(score for result in results for score in result.scores)
    reason = reason.partition("\n")[0].removeprefix("Skipped: ").removeprefix("Failed: ")
    if report.skipped:
        return ItemOutcome(setting, backbone, "skipped", reason, scores)
    if report.failed:
        return ItemOutcome(setting, backbone, "failed", reason, scores)
    measured = any(result.origin == "measured" for result in results)
    return ItemOutcome(setting, backbone, "measured" if measured else "store", "", scores)
