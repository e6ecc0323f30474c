"""JSON values that a stored file may hold after damage, and a complete score record to put them into."""

import copy
from typing import Any, get_type_hints

from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import Score

CURVE = {"epoch": [1, 2], "validation": [50.0, None], "loss": [0.7, 0.5]}
RELIABILITY = {"confidence": [0.2, 0.9], "accuracy": [0.1, 0.8], "count": [3, 7]}
ARTEFACT = {"kind": "examples", "key": {"identity": []}}

FACTS: dict[str, Any] = {
    "metrics": ["top1"], "protocol": {"id": "x"}, "backbone": {"resolved": "x"}, "started": "2026-01-31T12:00:00+00:00",
    "seconds": 1.5, "threads": 2, "command": "pytest", "versions": {"torch": "2"}, "commit": "c",
    "unreadable_images": {"test": 1}, "n": 10, "stderr": 1.5, "stderr_how": "over 10 examples", "examples": ARTEFACT,
    "chance": 10.0, "seeds": [0, 1], "by_seed": [1.0, 2.0], "seed_std": 0.5, "selection": "best", "validation": [50.0],
    "curve": CURVE, "runs": [{"run": "a"}], "reliability": RELIABILITY, "temperature": [1.5], "detections": ARTEFACT,
    "pictures": {"kind": "pictures", "key": {}}, "by_class": {"a": None},
    "mean_of": [{"backbone": "a", "backbone_fingerprint": "f", "value": 1.0}], "pretraining": {}, "checkpoint": "c",
    "erratum": "E1: a slip", "becomes": "b", "not_finite_images": 1,
    "leaks": [{"role": "test", "other": "train", "count": 1, "total": 9, "names": [["a", "b"]]}],
}  # fmt: skip
"""A provenance with every key that `Provenance` declares, where this table knows one."""

RECORD: dict[str, Any] = {
    "setting": "linear-probe@photos", "metric": "top1", "task": "Cls", "value": 20.0, "backbone": "x",
    "backbone_fingerprint": "f", "protocol_hash": "p1", "datasets": {"test": "d"}, "transform": "96px",
    "precision": "float32", "limit": None, "max_steps": None, "seeds": [0], "device": "cpu", "scale": "mini",
    "fidelity": "sound", "source": "run", "provenance": FACTS,
}  # fmt: skip
"""A valid record with every field of a Score."""

DEEP: Any = []
"""A list in a list, 100 levels deep."""
for _ in range(99):
    DEEP = [DEEP]

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**400, -(10**400), 1e308, 1e-308, float("nan"), float("inf"),
    "", "x", "\ud800", "nan", "\x00", "<b>'\"", "a\nb", "é" * 10_000, "2020-13-45", "linear-probe@photos",
    [], [1], ["a"], [None], [[]], [{}], [1.5, "a"], {}, {"a": 1}, {"a": None}, {"a": {}}, {"": []}, DEEP, {"x": DEEP},
    {"kind": [], "key": {}}, {"kind": "../x", "key": {}}, {"kind": "x\x00y", "key": {}},
    {"epoch": [], "validation": [], "loss": []}, {"epoch": [1], "validation": [1.0], "loss": []},
    {"epoch": [3], "validation": [-1e9], "loss": [None]}, {"epoch": [2**40], "validation": [1e30], "loss": [-1.0]},
    {"confidence": [], "accuracy": [], "count": []}, {"confidence": [-1e30], "accuracy": [1e30], "count": [-1]},
)  # fmt: skip
"""Values of every type, as JSON gives them."""


def paths() -> list[tuple[str, ...]]:
    """Return where a record can be damaged: each field, and each key of the provenance."""
    return [
        *((name,) for name in get_type_hints(Score)),
        *(("provenance", name) for name in get_type_hints(Provenance)),
    ]


def damaged(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a record with another value in one place."""
    record = copy.deepcopy(RECORD)
    place = record if len(path) == 1 else record[path[0]]
    place[path[-1]] = value
    return record
