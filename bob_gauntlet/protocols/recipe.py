"""Recipes: every protocol is a frozen dataclass with an id and a version, from which its hash is computed.

The class variable `mini` (field -> value) holds the budget at mini scale: the same protocol with less work. Recipes are
composed instead of inherited: `Calibration(head=LinearProbe())`. Canonical form, hash and scale include nested recipes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.runtime.context import RunContext


Reuse = Literal["features", "network", ""]
"""The expensive artefact that a recipe shares with others: one backbone's features of a dataset, its fine-tuned
network, or "" for none. The xdist scheduler gives settings that share one to one worker."""


@dataclass(frozen=True)
class Measured:
    """One metric of one evaluation.

    `values` (N,) are per-example values whose mean is `value`, with the ids of the examples and the clusters that they
    share (photo, query, image), for paired tests and intervals; None where a metric is no mean over examples. `details`
    go into the Score's provenance: plain types only.
    """

    metric: str
    value: float
    values: np.ndarray | None = None
    examples: Sequence[str] | None = None
    clusters: Sequence[str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol):
    """The interface of a protocol, as `Gauntlet.run` uses it.

    A recipe, or the recipe nested in it, may also declare (see `find_trait`): `fidelity`, a field; `precision`, a
    method from device to the name of the arithmetic; `reuses`, a `Reuse`; `exclusive`, whether no other setting may
    run meanwhile.
    """

    version: ClassVar[int]
    mini: ClassVar[Mapping[str, Any]]
    # whether `context.seeds` changes what is measured; otherwise every score has seeds (0,)
    seeded: ClassVar[bool]
    __dataclass_fields__: ClassVar[dict[str, Field]]

    @property
    def id(self) -> str:
        """The part of a setting id before the @."""

    @property
    def input_size(self) -> int | None:
        """Side of the square input in pixels; None for the backbone's own size."""

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield the metrics; every artefact is read and kept through `context.artifacts`."""


R = TypeVar("R", bound=Any)


def canonical(recipe: Any) -> dict[str, Any]:
    """Return id, version and the fields that differ from their defaults, recursively, as plain types for JSON.

    So a new field whose default keeps the old behaviour changes no canonical form. A nested recipe is always written
    out, since it has a version of its own.
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
    """Return 16 hex digits: a hash of the canonical form."""
    text = json.dumps(canonical(recipe), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def at_scale(recipe: R, scale: str, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> R:
    """Return the recipe with its budget at a scale and on a dataset, recursively; fields set by hand stay as they are.

    At mini scale `mini` replaces defaults; a dataset's `overrides` (protocol id -> field -> value) replace both. The
    `mini` of a recipe may also hold fields of a recipe nested in it.
    """
    budget = {**(recipe.mini if scale == "mini" else {}), **(overrides or {}).get(recipe.id, {})}
    changes: dict[str, Any] = {}
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if is_dataclass(value):
            default = f.default if f.default_factory is MISSING else f.default_factory()
            untouched = f.name in budget and getattr(replace(recipe, **{f.name: default}), f.name) == value
            inner: Any = at_scale(value, scale, overrides)
            changes[f.name] = replace(inner, **budget[f.name]) if untouched else inner
        elif f.name in budget and value == f.default:
            changes[f.name] = budget[f.name]
    return replace(recipe, **changes)


def with_fidelity(recipe: R, fidelity: str) -> R:
    """Return the recipe with `fidelity` set wherever it, or a recipe nested in it, has that field."""
    changes: dict[str, Any] = {}
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if is_dataclass(value):
            changes[f.name] = with_fidelity(value, fidelity)
        elif f.name == "fidelity":
            changes[f.name] = fidelity
    return replace(recipe, **changes)


def find_trait(recipe: Any, name: str, default: Any) -> Any:
    """Return an attribute of the recipe, else of a recipe nested in it, else the default.

    >>> from bob_gauntlet.protocols.calibration import Calibration
    >>> find_trait(Calibration(), "fidelity", "sound")
    'sound'
    """
    if hasattr(recipe, name):
        return getattr(recipe, name)
    inner = [v for f in fields(recipe) if is_dataclass(v := getattr(recipe, f.name))]
    traits = (find_trait(each, name, None) for each in inner)
    return next((trait for trait in traits if trait is not None), default)


def _plain(value: Any) -> Any:
    """Return a tuple as a list, which JSON knows."""
    return list(value) if isinstance(value, tuple) else value
