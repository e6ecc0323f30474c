"""Pools: frozen baseline scores that a backbone is ranked against.

`pool.json` beside the baselines names members and candidates and holds mean and std of every measure with its protocol
hash, under a hash of all that: a new backbone moves nobody, and an edit by hand is noticed. `pool-small.json` in the
folder `paper` is the pool `paper-small`: some of the same backbones, with mean and std of their own.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bob_gauntlet.config import bundled
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.pools import errata
from bob_gauntlet.pools.errata import ErrataMode, ErratumNote
from bob_gauntlet.pools.folder import BackboneRow, read_backbones, read_scores
from bob_gauntlet.runtime.artifacts import digest, write_atomically
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats.zscores import Reference, reference

MeasureKey = tuple[str, str]
"""(setting, metric)"""


@dataclass(frozen=True)
class Pool:
    """Members with their scores, and the frozen mean and std of every measure."""

    name: str
    scale: str
    folder: Path
    hash: str
    members: tuple[str, ...]
    candidates: tuple[str, ...]
    references: Mapping[MeasureKey, Reference]
    protocol_hashes: Mapping[MeasureKey, str]
    scores: Mapping[str, Mapping[MeasureKey, Score]]
    backbones: Mapping[str, BackboneRow]
    # what is wrong in print, and what was done about it
    errata: tuple[ErratumNote, ...] = ()

    def comparable_score(self, measure: MeasureKey) -> Score | None:
        """Any member's score of a measure that carries the frozen protocol hash: what others are compared with."""
        for member in self.members:
            score = self.scores.get(member, {}).get(measure)
            if score is not None and score.protocol_hash == self.protocol_hashes.get(measure):
                return score
        return None

    def title(self, name: str) -> str:
        """What a table shows for a backbone."""
        return self.backbones[name].title if name in self.backbones else name


def pool_files(own: Path) -> dict[str, Path]:
    """Pool name -> its file: those saved under `own`, then the bundled ones."""
    found: dict[str, Path] = {}
    for root in (own, bundled("baselines")):
        for path in sorted(root.glob("*/pool*.json")):
            found.setdefault(_name_of(path), path)
    return found


def pool_file(name: str, own: Path) -> Path:
    """The file of the pool of that name, or of the folder of that path. UsageError where there is none."""
    known = pool_files(own)
    if name in known:
        return known[name]
    folder = Path(name)
    if (folder / "scores.csv").is_file():
        return folder / "pool.json"
    raise UsageError(f"no pool is called {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}")


def file_to_freeze(name: str, own: Path) -> Path:
    """Where the pool of that name is or will be: NAME of a baselines folder, or FOLDER-PART for a part of it."""
    known = pool_files(own)
    if name in known:
        return known[name]
    for root in (own, bundled("baselines")):
        for folder in sorted(path.parent for path in root.glob("*/scores.csv")):
            part = name.removeprefix(folder.name)
            if name.startswith(folder.name) and (not part or part.startswith("-")):
                return folder / f"pool{part}.json"
    return pool_file(name, own)


def load_pool(name: str, own: Path, errata_mode: ErrataMode = "applied") -> Pool:
    """The pool of that name. UsageError where there is none, or where its file does not fit its hash.

    The frozen mean and std are of scores with certain errata applied; in another mode they are worked out anew.
    """
    path = pool_file(name, own)
    frozen, claimed = _read(path)
    members = frozen["members"]
    printed = read_scores(path.parent)
    kept = [s for s in errata.apply(printed, errata_mode) if s.backbone in members]
    about = [s for s in printed if s.backbone in members or s.provenance.get("becomes") in members]
    measures = {(s, m): entry for s, metrics in frozen["measures"].items() for m, entry in metrics.items()}
    if errata_mode == "applied":
        references = {k: Reference(e["mean"], e["std"], e["n"]) for k, e in measures.items()}
    else:
        references = {k: reference([s.value for s in found]) for k, found in _by_measure(kept).items()}
    scores: dict[str, dict[MeasureKey, Score]] = {}
    for score in kept:
        scores.setdefault(score.backbone, {})[score.measure] = score
    return Pool(
        name=frozen["name"],
        scale=frozen["scale"],
        folder=path.parent,
        hash=claimed,
        members=tuple(members),
        candidates=tuple(frozen["candidates"]),
        references=references,
        protocol_hashes={k: measures.get(k, {}).get("protocol_hash", "") for k in references},
        scores=scores,
        backbones=read_backbones(path.parent),
        errata=tuple(errata.notes(about, errata_mode)),
    )


def freeze_pool(path: Path, max_params: float | None = None) -> None:
    """Write a pool file from the scores and backbones beside it; those of role candidate are ranked.

    With `max_params` only backbones of fewer millions of parameters are members. A pool that is frozen again without it
    keeps the bound that it had.
    """
    rows = read_backbones(path.parent)
    bound = max_params if max_params is not None else _bound_of(path)
    members = sorted(name for name, row in rows.items() if bound is None or (row.params and float(row.params) < bound))
    scores = [s for s in errata.apply(read_scores(path.parent)) if s.backbone in members]
    if not scores:
        raise UsageError(f"{path.parent} has no scores for that pool; `bob pool show` lists what there is")
    measures: dict[str, dict[str, Any]] = {}
    for (setting, metric), found in sorted(_by_measure(scores).items()):
        hashes = sorted({score.protocol_hash for score in found})
        if len(hashes) > 1:
            raise UsageError(
                f"{path.parent}: {setting} {metric} was measured under {len(hashes)} protocols; run `bob baseline "
                f"refresh {path.parent.name}`"
            )
        measures.setdefault(setting, {})[metric] = {
            **asdict(reference([score.value for score in found])),
            "protocol_hash": hashes[0],
        }
    frozen = {
        "name": _name_of(path),
        "scale": scores[0].scale,
        "members": members,
        "candidates": [name for name in members if rows[name].role == "candidate"],
        "measures": measures,
        **({} if bound is None else {"max_params": bound}),
    }
    text = json.dumps({**frozen, "hash": digest(frozen)}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())


def _name_of(path: Path) -> str:
    """`paper` for paper/pool.json, `paper-small` for paper/pool-small.json."""
    return path.parent.name + path.stem.removeprefix("pool")


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """What a pool file froze, and its hash."""
    try:
        frozen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        claimed = frozen.pop("hash")
        if claimed != digest(frozen):
            raise ValueError("it does not fit its hash: it was edited by hand or cut short")
        if not {"name", "scale", "members", "candidates", "measures"} <= set(frozen):
            raise ValueError("it has no members")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        name = _name_of(path)
        raise UsageError(f"{path} cannot be used ({error}); restore it, or run `bob pool freeze {name}`") from error
    return frozen, claimed


def _bound_of(path: Path) -> float | None:
    """The parameter bound of a pool file that is there already."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig")).get("max_params")
    except (OSError, ValueError, AttributeError):
        return None
    return float(found) if isinstance(found, int | float) else None


def _by_measure(scores: Iterable[Score]) -> dict[MeasureKey, list[Score]]:
    found: dict[MeasureKey, list[Score]] = {}
    for score in scores:
        found.setdefault(score.measure, []).append(score)
    return found
