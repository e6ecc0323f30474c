"""Reading and writing of a baseline folder: scores.csv, backbones.csv, provenance.json and examples/.

scores.csv has a row per backbone and measure, and is read as Scores. A score that is the mean over several seeds keeps
each seed's value and fingerprint in its provenance. Published scores have two more columns, `erratum` and `becomes`,
which say what is wrong as printed.
"""

import csv
import io
import json
import logging
import math
import zlib
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
from bob_gauntlet.runtime.packing import pack_names, unpack_names
from bob_gauntlet.scores.json_types import load_json
from bob_gauntlet.scores.score import Score

log = logging.getLogger(__name__)

COLUMNS = (
    "backbone", "setting", "metric", "task", "value", "stderr", "n", "protocol_hash", "datasets", "transform",
    "precision", "seeds", "limit", "device", "scale", "fidelity", "source", "backbone_fingerprint",
)  # fmt: skip
ERRATA = ("erratum", "becomes")
"""Columns of published scores: what is wrong and why, and the backbone that the value belongs to."""

_IN_TABLE = ("stderr", "n", "examples", *ERRATA)
"""Fields of a score's provenance that scores.csv or examples/ hold, and provenance.json does not."""

RANDOM_INIT = {"style": "none", "method": "random initialisation", "data": "none", "images": "0", "licence": "ours"}
"""Columns of backbones.csv that are the same for every random initialisation."""


@dataclass(frozen=True)
class BackboneRow:
    """A row of backbones.csv: what a member of a pool is. The fields are the columns."""

    name: str
    # candidates are ranked; a reference gives mean and std only
    role: str
    # what to type after --backbone to measure it again; several names, separated by spaces, for a mean over seeds
    specs: str
    # title in tables, such as "ConvNeXt-Base supervised (IN-21k)"; "" if the name is the title
    label: str = ""
    # name of the architecture: backbones with one model differ only in their pretraining
    model: str = ""
    family: str = ""
    # supervised, self-supervised, vision-language or none; and the method of pretraining
    style: str = ""
    method: str = ""
    # pretraining data, and its size in millions of images
    data: str = ""
    images: str = ""
    # millions of parameters, and GFLOPs for one image at the backbone's own size
    params: str = ""
    gflops: str = ""
    licence: str = ""
    # why it has its role
    why: str = ""

    @property
    def title(self) -> str:
        """The name that tables show: the label, else the name."""
        return self.label or self.name

    @classmethod
    def from_zoo(cls, name: str, entry: ZooEntry, **other: str) -> Self:
        """Return the row of a backbone that the zoo knows; columns given in `other` replace those of the zoo."""
        columns = {
            "role": "candidate",
            "specs": name,
            "label": entry.label,
            "model": entry.model,
            "family": entry.family,
            "style": entry.style,
            "method": entry.method,
            "data": entry.data,
            "images": f"{entry.images:g}",
            "params": f"{entry.params:g}",
            "gflops": "" if entry.gflops is None else f"{entry.gflops:g}",
            "licence": entry.licence,
        }
        return cls(name, **(columns | other))


def find_folder(name: str, saved: Path) -> Path:
    """Return the baseline folder called `name`: one under `saved` (the user's baselines), a bundled one, or a path.

    Raises UsageError where there is none.
    """
    roots = saved, bundled("baselines")
    known = [path.parent.name for root in roots for path in sorted(root.glob("*/scores.csv"))]
    for folder in (*(root / name for root in roots), Path(name)):
        if (folder / "scores.csv").is_file():
            return folder
    hint = nearest(name, known) or f"; there are {', '.join(known)}"
    raise UsageError(f"no baselines are called {name!r}{hint}")


def read_scores(folder: Path) -> list[Score]:
    """Return every score of scores.csv with its provenance; a damaged row is skipped with a warning.

    Raises UsageError for a missing or unknown column, and for two rows with different values of one measure.
    """
    path = folder / "scores.csv"
    provenance = provenance_file.read(folder)
    scores: dict[tuple[str, str, str], tuple[int, Score]] = {}
    for line, row in _lines(path, COLUMNS, ERRATA):
        try:
            score = _score_from_row(row, provenance)
        except (ValueError, TypeError, BobError) as error:
            log.warning("%s, line %d is damaged and skipped (%s)", path, line, error)
            continue
        key = (score.backbone, *score.measure)
        first_line, first = scores.setdefault(key, (line, score))
        if first.value != score.value:
            raise UsageError(
                f"{path}: lines {first_line} and {line} disagree on {score.setting} {score.metric} of {score.backbone} "
                f"({first.value:g} and {score.value:g}); delete one"
            )
    return [score for _, score in scores.values()]


def read_backbones(folder: Path) -> dict[str, BackboneRow]:
    """Return name -> row of backbones.csv; optional columns that the table lacks are empty.

    Raises UsageError for a missing or unknown column, and for a size that is not a number.
    """
    names = [f.name for f in fields(BackboneRow)]
    path = folder / "backbones.csv"
    rows = {}
    for line, row in _lines(path, names[:3], names[3:]):
        for name in ("images", "params", "gflops"):
            if row.get(name) and not _is_number(row[name]):
                raise UsageError(
                    f"{path}, line {line}: {name} {row[name]!r} is not a number; correct it or leave it empty"
                )
        rows[row["name"]] = BackboneRow(**row)
    return rows


def _lines(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a table. Raises UsageError where it is damaged, lacks a column or has another one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            given = list(reader.fieldnames or ())
            _check_columns(path, given, required, optional)
            for row in reader:
                yield reader.line_num, {name: row[name] for name in given}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged ({error}); restore the file") from error


def _check_columns(path: Path, given: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    """Raise UsageError that names a missing or unknown column."""
    missing = [name for name in required if name not in given]
    unknown = [name for name in given if name not in (*required, *optional)]
    if missing:
        hint = f" (it has {unknown[0]!r})" if unknown else ""
        raise UsageError(f"{path} has no column {', '.join(missing)}{hint}; restore the file")
    if unknown:
        hint = nearest(unknown[0], [*required, *optional])
        raise UsageError(f"{path} has an unknown column {unknown[0]!r}{hint}")


def write_folder(folder: Path, scores: Iterable[Score], rows: Iterable[BackboneRow]) -> list[Score]:
    """Write scores.csv, provenance.json and backbones.csv, each whole or not at all.

    Returns the scores in the order of the file: by backbone, setting and metric.
    """
    ordered = sorted(scores, key=lambda s: (s.backbone, s.setting, s.metric))
    columns = (*COLUMNS, *ERRATA) if any("erratum" in s.provenance for s in ordered) else COLUMNS
    scores_table = _csv(columns, [_row_from_score(score, columns) for score in ordered])
    backbones_table = _csv([f.name for f in fields(BackboneRow)], [asdict(row) for row in rows])
    provenance_file.write(folder, ordered, excluded=_IN_TABLE)
    write_atomically(folder / "backbones.csv", backbones_table)
    write_atomically(folder / "scores.csv", scores_table)
    return ordered


@dataclass(frozen=True)
class PerExampleValues:
    """Per-example values of one measure: ids (N,), clusters (N,), and values (N,) of each backbone."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Mapping[str, np.ndarray]


def read_examples(folder: Path, setting: str, metric: str) -> PerExampleValues | None:
    """Return the stored per-example values of a measure, None where there are none.

    A damaged file is reported with a warning and counts as none.
    """
    path = examples_path(folder, setting, metric)
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            ids, clusters, backbones = (unpack_names(file[name]) for name in ("ids", "clusters", "backbones"))
            values = dict(zip(backbones, file["values"], strict=True))
        for array in values.values():
            if array.dtype.kind != "f" or not array.shape == (len(ids),) == (len(clusters),):
                raise ValueError(f"its values are {array.dtype} {array.shape} for {len(ids)} examples")
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        log.warning("%s is damaged (%s): its measure has no interval", path, error)
        return None
    return PerExampleValues(ids, clusters, values)


def write_examples(folder: Path, setting: str, metric: str, examples: PerExampleValues) -> None:
    """Write the per-example values of a measure into a compressed file."""
    backbones = sorted(examples.values)
    buffer = io.BytesIO()
    texts = {"ids": examples.ids, "clusters": examples.clusters, "backbones": backbones}
    arrays: dict[str, Any] = {name: pack_names(lines) for name, lines in texts.items()}
    arrays["values"] = np.stack([np.asarray(examples.values[name], np.float32) for name in backbones])
    np.savez_compressed(buffer, **arrays)
    write_atomically(examples_path(folder, setting, metric), buffer.getvalue())


def examples_path(folder: Path, setting: str, metric: str) -> Path:
    """Return the path of the file with the per-example values of a measure."""
    return folder / "examples" / f"{setting}.{metric}.npz"


def row_from_zoo(name: str, scores: Sequence[Score]) -> BackboneRow | None:
    """Return the row of a measured backbone, from the zoo and its efficiency scores; None for one not in the zoo."""
    resolved = next((s.provenance["backbone"].get("resolved") for s in scores if "backbone" in s.provenance), None)
    entry = ZOO.get(name) or ZOO.get(str(resolved))
    return None if entry is None else replace(BackboneRow.from_zoo(name, entry), **params_and_gflops(scores))


def params_and_gflops(scores: Sequence[Score]) -> dict[str, str]:
    """Return the columns params (millions) and gflops from the efficiency scores of a backbone, as far as measured."""
    values = {score.metric: score.value for score in scores}
    return {
        **({"params": f"{values['params']:.3f}"} if "params" in values else {}),
        **({"gflops": f"{values['flops']:.3f}"} if "flops" in values else {}),
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


def _row_from_score(score: Score, columns: Sequence[str]) -> dict[str, Any]:
    plain = score.to_dict()
    cells = {name: plain.get(name, score.provenance.get(name)) for name in columns}
    cells["datasets"] = json.dumps(dict(score.datasets), sort_keys=True)
    cells["seeds"] = " ".join(map(str, score.seeds))
    return {name: repr(cell) if isinstance(cell, float) else cell for name, cell in cells.items()}


def _score_from_row(row: Mapping[str, str], provenance: provenance_file.ProvenanceTable) -> Score:
    of_setting = provenance.get(row["backbone"], {}).get(row["setting"], {})
    facts = {**of_setting.get("shared", {}), **of_setting.get("metrics", {}).get(row["metric"], {})}
    plain: dict[str, Any] = {name: row[name] for name in COLUMNS if name not in ("stderr", "n")}
    plain["value"] = float(row["value"])
    plain["datasets"] = load_json(row["datasets"].encode())
    plain["seeds"] = [int(seed) for seed in row["seeds"].split()]
    plain["limit"] = int(row["limit"]) if row["limit"] else None
    stderr = {"stderr": float(row["stderr"])} if row["stderr"] else {}
    count = {"n": int(row["n"])} if row["n"] else {}
    errata = {name: row[name] for name in ERRATA if row.get(name)}
    return Score.from_dict({**plain, "provenance": {**facts, **stderr, **count, **errata}})
