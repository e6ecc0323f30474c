"""A baseline folder: scores.csv (a row a measure), backbones.csv, provenance.json and examples/, read and written.

It is written from stored runs, and read as Scores. A backbone whose row is the mean over several seeds keeps each
seed's value and fingerprint in its provenance. Published rows say what is believed of them in two more columns,
`erratum` and `becomes`.
"""

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np

from bob_gauntlet.backbones.zoo import ZOO, ZooEntry
from bob_gauntlet.config import bundled
from bob_gauntlet.errors import BobError, UsageError, nearest
from bob_gauntlet.pools import provenance_file
from bob_gauntlet.runtime.artifacts import write_atomically
from bob_gauntlet.scores.score import Score

log = logging.getLogger(__name__)

COLUMNS = (
    "backbone", "setting", "metric", "task", "value", "stderr", "n", "protocol_hash", "datasets", "transform",
    "precision", "seeds", "limit", "device", "scale", "fidelity", "source", "backbone_fingerprint",
)  # fmt: skip
ERRATA = ("erratum", "becomes")
"""Columns of published rows: what is believed and why, and the backbone that the value belongs to."""


RANDOM_INIT = {"style": "none", "method": "random initialisation", "data": "none", "images": "0", "licence": "ours"}
"""What stands in the line of a random initialisation, whatever its architecture."""


@dataclass(frozen=True)
class BackboneRow:
    """A line of backbones.csv: what a member of a pool is."""

    name: str
    # candidates are ranked; a reference gives mean and std only
    role: str
    # what to type after --backbone to measure it again, several separated by spaces for a mean over seeds
    specs: str
    # what a table shows, such as "ConvNeXt-Base supervised (IN-21k)"; "" is the name
    label: str = ""
    # the architecture's name: pairs of one model differ in their pretraining alone
    model: str = ""
    family: str = ""
    # supervised, self-supervised, vision-language or none, and how
    style: str = ""
    method: str = ""
    # pretraining data, and its size in millions of images
    data: str = ""
    images: str = ""
    # millions, and GFLOPs of one image at the backbone's own size
    params: str = ""
    gflops: str = ""
    licence: str = ""
    # why it has that role
    why: str = ""

    @property
    def title(self) -> str:
        """What a table shows: the label, else the name."""
        return self.label or self.name

    @classmethod
    def of_zoo(cls, name: str, known: ZooEntry, **other: str) -> Self:
        """The line of a backbone that the zoo knows; `other` goes before what the zoo says."""
        about = {
            "role": "candidate",
            "specs": name,
            "label": known.label,
            "model": known.model,
            "family": known.family,
            "style": known.style,
            "method": known.method,
            "data": known.data,
            "images": f"{known.images:g}",
            "params": f"{known.params:g}",
            "gflops": "" if known.gflops is None else f"{known.gflops:g}",
            "licence": known.licence,
        }
        return cls(name, **(about | other))


def folder_of(name: str, own: Path) -> Path:
    """The folder of the baseline of that name: a path, one that was saved under `own`, or one that is bundled."""
    roots = own, bundled("baselines")
    known = [path.parent.name for root in roots for path in sorted(root.glob("*/scores.csv"))]
    for folder in (*(root / name for root in roots), Path(name)):
        if (folder / "scores.csv").is_file():
            return folder
    close = nearest(name, known) or f"; there are {', '.join(known)}"
    raise UsageError(f"no baselines are called {name!r}{close}")


def read_scores(folder: Path) -> list[Score]:
    """Every row of scores.csv with its provenance; a damaged row is reported and skipped.

    UsageError for a column that is missing or unknown, and for two rows of one measure that disagree.
    """
    path = folder / "scores.csv"
    origins = provenance_file.read(folder)
    found: dict[tuple[str, str, str], tuple[int, Score]] = {}
    for line, row in _lines(path, COLUMNS, ERRATA):
        try:
            score = _score(row, origins)
        except (ValueError, TypeError, BobError) as error:
            log.warning("%s, line %d is damaged and skipped (%s)", path, line, error)
            continue
        key = (score.backbone, *score.measure)
        before = found.setdefault(key, (line, score))
        if before[1].value != score.value:
            raise UsageError(
                f"{path}: lines {before[0]} and {line} disagree on {score.setting} {score.metric} of {score.backbone} "
                f"({before[1].value:g} and {score.value:g}); delete one"
            )
    return [score for _, score in found.values()]


def read_backbones(folder: Path) -> dict[str, BackboneRow]:
    """Name -> line of backbones.csv; what a shorter table leaves out is empty."""
    names = [f.name for f in fields(BackboneRow)]
    path = folder / "backbones.csv"
    found = {}
    for line, row in _lines(path, names[:3], names[3:]):
        for name in ("images", "params", "gflops"):
            if row.get(name) and not _is_number(row[name]):
                raise UsageError(f"{path}, line {line}: {name} {row[name]!r} is no number; leave it empty or mend it")
        found[row["name"]] = BackboneRow(**row)
    return found


def _lines(path: Path, needed: Sequence[str], more: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a table; UsageError that names a column which is missing or unknown."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        given = list(reader.fieldnames or ())
        missing = [name for name in needed if name not in given]
        unknown = [name for name in given if name not in (*needed, *more)]
        if missing:
            hint = f" (it has {unknown[0]!r})" if unknown else ""
            raise UsageError(f"{path} has no column {', '.join(missing)}{hint}; restore the file")
        if unknown:
            raise UsageError(f"{path} has an unknown column {unknown[0]!r}{nearest(unknown[0], [*needed, *more])}")
        for row in reader:
            yield reader.line_num, {name: row[name] for name in given}


def write_folder(folder: Path, scores: Sequence[Score], rows: Iterable[BackboneRow]) -> None:
    """Write scores.csv, provenance.json and backbones.csv, each whole or not at all."""
    ordered = sorted(scores, key=lambda s: (s.backbone, s.setting, s.metric))
    columns = (*COLUMNS, *ERRATA) if any("erratum" in s.provenance for s in ordered) else COLUMNS
    table = _csv(columns, [_row(score, columns) for score in ordered])
    lines = _csv([f.name for f in fields(BackboneRow)], [asdict(row) for row in rows])
    apart = ("stderr", "n", "examples", *ERRATA)
    provenance_file.write(folder, ordered, apart)
    write_atomically(folder / "backbones.csv", lines)
    write_atomically(folder / "scores.csv", table)


@dataclass(frozen=True)
class PerExampleValues:
    """Per-example values of one measure: ids (N,), clusters (N,), and values (N,) of each backbone."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Mapping[str, np.ndarray]


def read_examples(folder: Path, setting: str, metric: str) -> PerExampleValues | None:
    """The stored per-example values of a measure, None where there are none."""
    path = examples_path(folder, setting, metric)
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            texts = {k: file[k].tobytes().decode().split("\n") for k in ("ids", "clusters", "backbones")}
            values = dict(zip(texts["backbones"], file["values"], strict=True))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        log.warning("%s is damaged (%s): its measure has no interval", path, error)
        return None
    return PerExampleValues(tuple(texts["ids"]), tuple(texts["clusters"]), values)


def write_examples(folder: Path, setting: str, metric: str, examples: PerExampleValues) -> None:
    """Write them, compressed."""
    names = sorted(examples.values)
    buffer = io.BytesIO()
    texts = {"ids": examples.ids, "clusters": examples.clusters, "backbones": names}
    arrays: dict[str, Any] = {key: np.frombuffer("\n".join(text).encode(), np.uint8) for key, text in texts.items()}
    arrays["values"] = np.stack([np.asarray(examples.values[name], np.float32) for name in names])
    np.savez_compressed(buffer, **arrays)
    write_atomically(examples_path(folder, setting, metric), buffer.getvalue())


def examples_path(folder: Path, setting: str, metric: str) -> Path:
    """Where the examples of a measure lie."""
    return folder / "examples" / f"{setting}.{metric}.npz"


def known_row(name: str, scores: Sequence[Score]) -> BackboneRow | None:
    """What the zoo and its scores say of a backbone that was measured; None where the zoo does not know it."""
    resolved = next((s.provenance["backbone"].get("resolved") for s in scores if "backbone" in s.provenance), None)
    known = ZOO.get(name) or ZOO.get(str(resolved))
    return None if known is None else replace(BackboneRow.of_zoo(name, known), **counts(scores))


def counts(scores: Sequence[Score]) -> dict[str, str]:
    """Parameters (M) and GFLOPs as the efficiency scores of a backbone state them, ready for its line."""
    found = {score.metric: score.value for score in scores}
    return {
        **({"params": f"{found['params']:.3f}"} if "params" in found else {}),
        **({"gflops": f"{found['flops']:.3f}"} if "flops" in found else {}),
    }


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _row(score: Score, columns: Sequence[str]) -> dict[str, Any]:
    plain = score.to_dict()
    cells = {name: plain.get(name, score.provenance.get(name)) for name in columns}
    cells["datasets"] = json.dumps(dict(score.datasets), sort_keys=True)
    cells["seeds"] = " ".join(map(str, score.seeds))
    return {name: repr(cell) if isinstance(cell, float) else cell for name, cell in cells.items()}


def _score(row: Mapping[str, str], origins: provenance_file.Origins) -> Score:
    origin = origins.get(row["backbone"], {}).get(row["setting"], {})
    own = {**origin.get("shared", {}), **origin.get("metrics", {}).get(row["metric"], {})}
    plain: dict[str, Any] = {name: row[name] for name in COLUMNS if name not in ("stderr", "n")}
    plain["value"] = float(row["value"])
    plain["datasets"] = json.loads(row["datasets"])
    plain["seeds"] = [int(seed) for seed in row["seeds"].split()]
    plain["limit"] = int(row["limit"]) if row["limit"] else None
    spread = {"stderr": float(row["stderr"])} if row["stderr"] else {}
    count = {"n": int(row["n"])} if row["n"] else {}
    errata = {name: row[name] for name in ERRATA if row.get(name)}
    return Score.from_dict({**plain, "provenance": {**own, **spread, **count, **errata}})
