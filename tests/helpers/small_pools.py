"""Small frozen pools of made-up scores, for tests of rankings and reports."""

from pathlib import Path

from bob_gauntlet.pools.folder import BackboneRow, write_folder
from bob_gauntlet.pools.pool import Pool, freeze_pool, load_pool
from bob_gauntlet.scores.score import Score

CLS, DIGITS = ("linear-probe@photos", "top1"), ("linear-probe@digits", "top1")
RET = ("retrieval@photos-instances", "map")
KNN = ("knn@photos", "top1")
LATENCY = ("efficiency@noise", "latency_ratio")
TASKS = {CLS: "Cls", DIGITS: "Cls", RET: "Ret", KNN: "Cls", LATENCY: "Eff"}
"""Measure -> its task."""


def make_score(backbone: str, measure: tuple[str, str], value: float, **fields: object) -> Score:
    """Return a score of a measure; `fields` sets further fields."""
    return Score(
        setting=measure[0],
        metric=measure[1],
        task=TASKS[measure],
        value=value,
        backbone=backbone,
        backbone_fingerprint=f"fp-{backbone}",
        protocol_hash="p1",
        **fields,  # type: ignore[arg-type]
    )


def make_pool(folder: Path, scores: list[Score], references: tuple[str, ...] = ()) -> Pool:
    """Freeze a pool of these scores; the backbones in `references` are not candidates."""
    names = dict.fromkeys(score.backbone for score in scores)
    rows = [BackboneRow(name, "reference" if name in references else "candidate", name) for name in names]
    folder.mkdir(exist_ok=True)
    write_folder(folder, scores, rows)
    freeze_pool(folder / "pool.json")
    return load_pool(str(folder), folder)


def make_pool_of_four(folder: Path) -> Pool:
    """Freeze a pool of a, b, c and the reference r: Cls 10, 20, 30 and 0; Ret 30, 20, 10 and 0."""
    values = {"a": (10.0, 30.0), "b": (20.0, 20.0), "c": (30.0, 10.0), "r": (0.0, 0.0)}
    scores = [
        make_score(name, measure, value)
        for name, pair in values.items()
        for measure, value in zip((CLS, RET), pair, strict=True)
    ]
    return make_pool(folder, scores, references=("r",))
