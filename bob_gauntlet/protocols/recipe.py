"""What every protocol is: a frozen dataclass with an id and a version, its canonical form, hash and scales.

A recipe's mini budget stands in its class variable `mini`: field -> value. It is the same protocol with less to do.
Recipes compose instead of inheriting; canonical form, hash and scale go through nested ones.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Measured:
    """One metric of one evaluation.

    `values` (N,) are per-example values whose mean is `value`, with their ids and the clusters that they share
    (photo, query, image), for paired tests and intervals; None where a metric is no mean over examples.
    `details` go into the Score's provenance: plain types only.
    """

    metric: str
    value: float
    values: np.ndarray | None = None
    examples: Sequence[str] | None = None
    clusters: Sequence[str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol):
    """The interface of a protocol, as `Gauntlet.run` uses it."""

    version: ClassVar[int]
    mini: ClassVar[Mapping[str, Any]]
    # whether `context.seeds` changes what is measured; where not, every score has seeds (0,)
    seeded: ClassVar[bool]
    __dataclass_fields__: ClassVar[dict[str, Field]]

    @property
    def id(self) -> str:
        """The protocol's part of a setting id."""

    @property
    def input_size(self) -> int | None:
        """Side of the square input in pixels; None is the backbone's own."""

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Measure; every artefact goes through `context.artifacts`."""


R = TypeVar("R", bound=Any)


def canonical(recipe: Any) -> dict[str, Any]:
    """Id, version and the fields that differ from their defaults, recursively: plain types for JSON.

    A new field whose default keeps the old behaviour leaves it as it was; a nested recipe is always written out, since
    it brings its own version.
    """
    form: dict[str, Any] = {"id": recipe.id, "version": recipe.version}
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if is_dataclass(value):
            form[f.name] = canonical(value)
        elif value != default or default is MISSING:
            form[f.name] = _plain(value)
    return form


def protocol_hash(recipe: Any) -> str:
    """16 hex digits of the canonical form."""
    text = json.dumps(canonical(recipe), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def at_scale(recipe: R, scale: str, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> R:
    """The recipe with its budget at that scale and on a dataset, recursively; what was set by hand stays.

    `mini` gives a field another default, and `overrides` (a dataset's own: protocol id -> field -> value) before it. A
    recipe's `mini` may say what a nested recipe's is.
    """
    own = {**(recipe.mini if scale == "mini" else {}), **(overrides or {}).get(recipe.id, {})}
    changes: dict[str, Any] = {}
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if is_dataclass(value):
            default = f.default if f.default_factory is MISSING else f.default_factory()
            untouched = f.name in own and getattr(replace(recipe, **{f.name: default}), f.name) == value
            inner: Any = at_scale(value, scale, overrides)
            changes[f.name] = replace(inner, **own[f.name]) if untouched else inner
        elif f.name in own and value == f.default:
            changes[f.name] = own[f.name]
    return replace(recipe, **changes)


def with_fidelity(recipe: R, fidelity: str) -> R:
    """The recipe, and those in it, with the choices of that fidelity where they have any."""
    changes: dict[str, Any] = {}
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if is_dataclass(value):
            changes[f.name] = with_fidelity(value, fidelity)
        elif f.name == "fidelity":
            changes[f.name] = fidelity
    return replace(recipe, **changes)


def find_trait(recipe: Any, name: str, default: Any) -> Any:
    """An attribute of the recipe, else of the recipe that it tests or trains by, else the default.

    >>> from bob_gauntlet.protocols.calibration import Calibration
    >>> find_trait(Calibration(), "fidelity", "sound")
    'sound'
    """
    if hasattr(recipe, name):
        return getattr(recipe, name)
    inner = [v for f in fields(recipe) if is_dataclass(v := getattr(recipe, f.name))]
    return next((found for each in inner if (found := find_trait(each, name, None)) is not None), default)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
