"""Pools: frozen baseline scores that a backbone is ranked against.

`pool.json` beside the baselines names members and candidates and holds mean and std of every measure with its protocol
hash, under a hash of all that: a new backbone moves nobody, and an edit by hand is noticed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bob_gauntlet import baseline
from bob_gauntlet.artifacts import digest, write_atomically
from bob_gauntlet.baseline import BackboneRow
from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores import Score
from bob_gauntlet.stats import Reference, reference

MeasureKey = tuple[str, str]
"""(setting, metric)"""


@dataclass(frozen=True)
class Pool:
    """Members with their scores, and the frozen mean and std of every measure."""

    name: str
    scale: str
    folder: Path
    members: tuple[str, ...]
    candidates: tuple[str, ...]
    references: Mapping[MeasureKey, Reference]
    protocol_hashes: Mapping[MeasureKey, str]
    scores: Mapping[str, Mapping[MeasureKey, Score]]
    backbones: Mapping[str, BackboneRow]

    def example_of(self, measure: MeasureKey) -> Score | None:
        """Any member's score of a measure that carries the frozen protocol hash: what others are compared with."""
        for member in self.members:
            score = self.scores.get(member, {}).get(measure)
            if score is not None and score.protocol_hash == self.protocol_hashes.get(measure):
                return score
        return None


def load(name: str, own: Path) -> Pool:
    """The pool of that name. UsageError where there is none, or where its file does not fit its hash."""
    folder = baseline.folder_of(name, own)
    path = folder / "pool.json"
    try:
        frozen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        claimed = frozen.pop("hash")
        if claimed != digest(frozen):
            raise ValueError("it does not fit its hash: it was edited by hand or cut short")
        measures = {(s, m): entry for s, metrics in frozen["measures"].items() for m, entry in metrics.items()}
        references = {k: Reference(e["mean"], e["std"], e["n"]) for k, e in measures.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be used ({error}); restore it, or run `bob baseline freeze {name}`") from error
    scores: dict[str, dict[MeasureKey, Score]] = {}
    for score in baseline.read_scores(folder):
        scores.setdefault(score.backbone, {})[score.measure] = score
    return Pool(
        name=frozen["name"],
        scale=frozen["scale"],
        folder=folder,
        members=tuple(frozen["members"]),
        candidates=tuple(frozen["candidates"]),
        references=references,
        protocol_hashes={k: e["protocol_hash"] for k, e in measures.items()},
        scores=scores,
        backbones=baseline.read_backbones(folder),
    )


def freeze(folder: Path) -> None:
    """Write pool.json from the folder's scores and backbones: all are members, those of role candidate are ranked."""
    scores = baseline.read_scores(folder)
    rows = baseline.read_backbones(folder)
    by_measure: dict[MeasureKey, list[Score]] = {}
    for score in scores:
        by_measure.setdefault(score.measure, []).append(score)
    measures: dict[str, dict[str, Any]] = {}
    for (setting, metric), found in sorted(by_measure.items()):
        hashes = sorted({score.protocol_hash for score in found})
        if len(hashes) > 1:
            raise UsageError(
                f"{folder}: {setting} {metric} was measured under {len(hashes)} protocols; run `bob baseline refresh "
                f"{folder.name}`"
            )
        measures.setdefault(setting, {})[metric] = {
            **asdict(reference([score.value for score in found])),
            "protocol_hash": hashes[0],
        }
    frozen = {
        "name": folder.name,
        "scale": scores[0].scale if scores else "mini",
        "members": sorted(rows),
        "candidates": sorted(name for name, row in rows.items() if row.role == "candidate"),
        "measures": measures,
    }
    text = json.dumps({**frozen, "hash": digest(frozen)}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / "pool.json", text.encode())
