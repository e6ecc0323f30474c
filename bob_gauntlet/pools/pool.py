"""Pools: frozen baseline scores that a backbone is ranked against.

`pool.json` in a baseline folder names members and candidates, and holds mean, std and protocol hash of every measure,
under a hash of all that: adding a backbone does not change existing z-scores, and an edit by hand is noticed.
`pool-small.json` in the folder `paper` is the pool `paper-small`: some of the same backbones, with their own mean and
std.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bob_gauntlet.config import bundled
from bob_gauntlet.errors import UsageError, named, nearest
from bob_gauntlet.pools import errata
from bob_gauntlet.pools.errata import ErrataMode, ErratumNote
from bob_gauntlet.pools.folder import BackboneRow, read_backbones, read_scores
from bob_gauntlet.runtime.artifacts import digest, write_atomically
from bob_gauntlet.scores.score import Score, differs_in_size, input_pixels
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
    # what is wrong as printed, and whether it was corrected
    errata: tuple[ErratumNote, ...] = ()
    # scores of members that are left out, with the reason
    notes: tuple[str, ...] = ()

    def comparable_score(self, measure: MeasureKey) -> Score | None:
        """Return a member's score of a measure under the frozen protocol hash, to compare other scores with.

        None where no member has one.
        """
        for member in self.members:
            score = self.scores.get(member, {}).get(measure)
            if score is not None and score.protocol_hash == self.protocol_hashes.get(measure):
                return score
        return None

    def title(self, name: str) -> str:
        """Return the title of a backbone in tables."""
        return self.backbones[name].title if name in self.backbones else name


def pool_files(saved: Path) -> dict[str, Path]:
    """Return pool name -> its file: those under `saved` (the user's baselines), then the bundled ones."""
    files: dict[str, Path] = {}
    for root in (saved, bundled("baselines")):
        for path in sorted(root.glob("*/pool*.json")):
            files.setdefault(_name_of(path), path)
    return files


def pool_file(name: str, saved: Path) -> Path:
    """Return the file of the pool called `name`, or of the folder with that path. Raises UsageError without one."""
    known = pool_files(saved)
    if name in known:
        return known[name]
    folder = Path(name)
    if (folder / "scores.csv").is_file():
        return folder / "pool.json"
    raise UsageError(f"no pool is called {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}")


def file_to_freeze(name: str, saved: Path) -> Path:
    """Return the file that the pool called `name` has or will have.

    `name` is NAME for the whole of a baseline folder, or FOLDER-PART for a part of it.
    """
    known = pool_files(saved)
    if name in known:
        return known[name]
    for root in (saved, bundled("baselines")):
        for folder in sorted(path.parent for path in root.glob("*/scores.csv")):
            part = name.removeprefix(folder.name)
            if name.startswith(folder.name) and (not part or part.startswith("-")):
                return folder / f"pool{part}.json"
    return pool_file(name, saved)


def load_pool(name: str, saved: Path, errata_mode: ErrataMode = "applied") -> Pool:
    """Return the pool called `name`. Raises UsageError where there is none, or where its file does not match its hash.

    The frozen mean and std are those with certain errata applied; in another mode they are computed from the scores.
    """
    path = pool_file(name, saved)
    frozen, frozen_hash = _read(path)
    members = frozen["members"]
    printed = read_scores(path.parent)
    scores = [s for s in errata.apply(printed, errata_mode) if s.backbone in members]
    with_errata = [s for s in printed if s.backbone in members or s.provenance.get("becomes") in members]
    measures = {(s, m): entry for s, metrics in frozen["measures"].items() for m, entry in metrics.items()}
    if errata_mode == "applied":
        references = {k: Reference(e["mean"], e["std"], e["n"]) for k, e in measures.items()}
    else:
        references = {k: reference([s.value for s in of_measure]) for k, of_measure in _by_measure(scores).items()}
    return Pool(
        name=frozen["name"],
        scale=frozen["scale"],
        folder=path.parent,
        hash=frozen_hash,
        members=tuple(members),
        candidates=tuple(frozen["candidates"]),
        references=references,
        protocol_hashes={k: measures.get(k, {}).get("protocol_hash", "") for k in references},
        scores=index_scores(of_common_size(scores)),
        backbones=read_backbones(path.parent),
        notes=tuple(_size_notes(scores)),
        errata=tuple(errata.notes(with_errata, errata_mode)),
    )


def freeze_pool(path: Path, max_params: float | None = None) -> None:
    """Write a pool file from the scores and backbones beside it; backbones with role candidate are ranked.

    With `max_params` only backbones with fewer millions of parameters are members. Without it, a pool that is frozen
    again keeps the bound that it had. Raises UsageError where no member has a score, and where scores of one measure
    come from several protocols.
    """
    rows = read_backbones(path.parent)
    _freeze(path, read_scores(path.parent), rows, max_params)


def freeze_pools(folder: Path, scores: Sequence[Score], rows: Mapping[str, BackboneRow]) -> None:
    """Write pool.json and every other pool file of a folder from the scores and backbone rows that it holds.

    `scores` are in the order of scores.csv, so that mean and std are the same to the last digit as after reading it.
    """
    for path in sorted({folder / "pool.json", *folder.glob("pool-*.json")}):
        _freeze(path, scores, rows)


def _freeze(
    path: Path, scores: Sequence[Score], rows: Mapping[str, BackboneRow], max_params: float | None = None
) -> None:
    bound = max_params if max_params is not None else _bound_of(path)
    members = sorted(name for name, row in rows.items() if bound is None or (row.params and float(row.params) < bound))
    member_scores = [s for s in errata.apply(scores) if s.backbone in members]
    if not member_scores:
        raise UsageError(f"{path.parent} has no scores for that pool; `bob pool show` lists what there is")
    measures: dict[str, dict[str, Any]] = {}
    for (setting, metric), of_measure in sorted(_by_measure(of_common_size(member_scores)).items()):
        hashes = sorted({score.protocol_hash for score in of_measure})
        if len(hashes) > 1:
            raise UsageError(
                f"{path.parent}: {setting} {metric} was measured under {len(hashes)} protocols; run `bob baseline "
                f"refresh {path.parent.name}`"
            )
        measures.setdefault(setting, {})[metric] = {
            **asdict(reference([score.value for score in of_measure])),
            "protocol_hash": hashes[0],
        }
    frozen = {
        "name": _name_of(path),
        "scale": member_scores[0].scale,
        "members": members,
        "candidates": [name for name in members if rows[name].role == "candidate"],
        "measures": measures,
        **({} if bound is None else {"max_params": bound}),
    }
    text = json.dumps({**frozen, "hash": digest(frozen)}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())


def _name_of(path: Path) -> str:
    """Return the name of a pool: `paper` for paper/pool.json, `paper-small` for paper/pool-small.json."""
    return path.parent.name + path.stem.removeprefix("pool")


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a pool file froze, and its hash. Raises UsageError where the hash does not match."""
    try:
        frozen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        frozen_hash = frozen.pop("hash")
        if frozen_hash != digest(frozen):
            raise ValueError("its content does not match its hash: it was edited by hand or cut short")
        if not {"name", "scale", "members", "candidates", "measures"} <= set(frozen):
            raise ValueError("it has no members")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        name = _name_of(path)
        raise UsageError(f"{path} cannot be used ({error}); restore it, or run `bob pool freeze {name}`") from error
    return frozen, frozen_hash


def _bound_of(path: Path) -> float | None:
    """Return the parameter bound of an existing pool file; None without a file or a bound."""
    try:
        bound = json.loads(path.read_text(encoding="utf-8-sig")).get("max_params")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return float(bound) if isinstance(bound, int | float) else None


def index_scores(scores: Iterable[Score]) -> dict[str, dict[MeasureKey, Score]]:
    """Return backbone -> measure -> score; of several scores of one measure the last counts."""
    index: dict[str, dict[MeasureKey, Score]] = {}
    for score in scores:
        index.setdefault(score.backbone, {})[score.measure] = score
    return index


def of_common_size(scores: Sequence[Score]) -> list[Score]:
    """Return the scores without those whose input size differs from that of most scores of the same measure.

    They take no part in mean and standard deviation, and are not ranked: see `differs_in_size`.
    """
    common = {measure: _common_score(of_measure) for measure, of_measure in _by_measure(scores).items()}
    return [score for score in scores if not differs_in_size(score, common[score.measure])]


def _common_score(scores: Sequence[Score]) -> Score:
    """Return a score with the most frequent input size of some scores; of two such sizes the smaller one."""
    counts = Counter(input_pixels(score) or 0 for score in scores)
    size = min(counts, key=lambda pixels: (-counts[pixels], pixels))
    return next(score for score in scores if (input_pixels(score) or 0) == size)


def _size_notes(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a note for every member and input size whose scores `of_common_size` leaves out."""
    kept = {id(score) for score in of_common_size(scores)}
    settings: dict[tuple[str, int | None], list[str]] = {}
    for score in scores:
        if id(score) not in kept:
            settings.setdefault((score.backbone, input_pixels(score)), []).append(score.setting)
    for (backbone, pixels), names in settings.items():
        listed = named(dict.fromkeys(names), most=4)
        yield f"{listed} of {backbone}: left out, because its input is {pixels} px, which other members' is not"


def _by_measure(scores: Iterable[Score]) -> dict[MeasureKey, list[Score]]:
    scores_by_measure: dict[MeasureKey, list[Score]] = {}
    for score in scores:
        scores_by_measure.setdefault(score.measure, []).append(score)
    return scores_by_measure
