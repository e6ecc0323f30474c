"""Canonical form, hash and scale of recipes, also of nested ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from bob_gauntlet.protocols.recipe import Measured, at_scale, canonical, find_trait, protocol_hash, with_fidelity


@dataclass(frozen=True)
class Probe:
    """A recipe with a tuple, and with an input size as its mini budget."""

    id: ClassVar[str] = "probe"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = False
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    input_size: int | None = None
    strengths: tuple[float, ...] = (1.0, 10.0)

    def evaluate(self, backbone: object, dataset: object, context: object) -> Iterator[Measured]:
        """Yield one constant."""
        yield Measured("top1", 50.0)


@dataclass(frozen=True)
class Attack:
    """A recipe with a nested recipe."""

    id: ClassVar[str] = "attack"
    version: ClassVar[int] = 3
    seeded: ClassVar[bool] = False
    mini: ClassVar[Mapping[str, Any]] = {"steps": 5}

    head: Probe = field(default_factory=Probe)
    steps: int = 20


@dataclass(frozen=True)
class Tuning:
    """A recipe with a fidelity and a mini budget of two fields."""

    id: ClassVar[str] = "tuning"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {"epochs": 6, "batch": 32}

    epochs: int = 100
    batch: int = 1024
    fidelity: str = "sound"
    head: Probe | None = None

    def precision(self, device: str) -> str:
        """Return a text with the name of the device."""
        return f"half on {device}"


@dataclass(frozen=True)
class Few:
    """A recipe whose mini budget also holds fields of its nested recipe."""

    id: ClassVar[str] = "few"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {"tuning": {"epochs": 20}, "shots": 2}

    shots: int = 5
    tuning: Tuning = field(default_factory=lambda: Tuning(epochs=60))


def test_defaults_leave_no_trace() -> None:
    """A new field whose default keeps the old behaviour changes no hash."""
    assert canonical(Probe()) == {"id": "probe", "version": 1}
    assert canonical(Probe(strengths=(1.0,))) == {"id": "probe", "version": 1, "strengths": [1.0]}


def test_a_nested_recipe_brings_its_own_version_once_it_differs() -> None:
    """A changed head is written out with its version and changes the hash."""
    assert canonical(Attack(head=Probe(input_size=64)))["head"] == {"id": "probe", "version": 1, "input_size": 64}
    assert protocol_hash(Attack()) != protocol_hash(Attack(head=Probe(input_size=64)))


def test_mini_changes_the_budget_of_nested_recipes_too() -> None:
    """Mini scale applies to the recipe and to its head; paper scale changes nothing."""
    small = at_scale(Attack(), "mini")
    assert (small.steps, small.head.input_size) == (5, 96)
    assert at_scale(Attack(), "paper") == Attack()


def test_what_a_user_set_is_kept_at_mini_scale() -> None:
    """An input size that was set by hand is kept at mini scale."""
    assert at_scale(Probe(input_size=64), "mini").input_size == 64


def test_a_changed_version_of_a_default_head_moves_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of the head changes the hash, also where the head is the default."""
    before = protocol_hash(Attack())
    monkeypatch.setattr(Probe, "version", 2)
    assert protocol_hash(Attack()) != before


def test_a_nested_budget_is_the_outer_recipes_word() -> None:
    """The outer recipe's budget for a nested recipe comes before the nested recipe's own; paper scale has neither."""
    small = at_scale(Few(), "mini")
    assert (small.shots, small.tuning.epochs, small.tuning.batch) == (2, 20, 32)
    assert at_scale(Few(), "paper") == Few()


def test_a_dataset_has_budgets_of_its_own() -> None:
    """A dataset's overrides apply at every scale, before mini's, by recipe id; fields that were set by hand stay."""
    overrides = {"tuning": {"epochs": 10, "batch": 64}, "attack": {"steps": 3}, "probe": {"input_size": 48}}
    assert at_scale(Tuning(), "paper", overrides) == Tuning(epochs=10, batch=64)
    assert at_scale(Tuning(), "mini", overrides) == Tuning(epochs=10, batch=64)
    assert at_scale(Tuning(), "mini", {"tuning": {"epochs": 10}}) == Tuning(epochs=10, batch=32)
    assert at_scale(Tuning(epochs=7), "paper", overrides) == Tuning(epochs=7, batch=64)
    assert at_scale(Attack(), "mini", overrides) == Attack(head=Probe(input_size=48), steps=3)
    assert at_scale(Tuning(), "paper", {"other": {"epochs": 10}}) == Tuning()
    assert canonical(at_scale(Tuning(), "paper", overrides)) == {
        "id": "tuning",
        "version": 1,
        "epochs": 10,
        "batch": 64,
    }


def test_a_dataset_may_have_a_nested_budget() -> None:
    """Overrides of the outer recipe for its nested recipe come before those for the nested recipe itself."""
    overrides = {"tuning": {"batch": 64, "epochs": 9}, "few": {"tuning": {"epochs": 3}}}
    scaled = at_scale(Few(), "mini", overrides)
    assert (scaled.shots, scaled.tuning.epochs, scaled.tuning.batch) == (2, 3, 64)


def test_fidelity_goes_to_every_recipe_that_has_one() -> None:
    """The fidelity is set in every recipe that has the field, nested ones too; others do not change."""
    assert with_fidelity(Few(), "paper") == Few(tuning=Tuning(epochs=60, fidelity="paper"))
    assert with_fidelity(Tuning(head=Probe()), "paper") == Tuning(fidelity="paper", head=Probe())
    assert with_fidelity(Tuning(fidelity="paper"), "sound") == Tuning()
    assert with_fidelity(Attack(), "paper") == Attack()


def test_a_trait_is_the_recipes_or_that_of_one_inside() -> None:
    """A trait is the recipe's own, else that of a nested recipe, else the default; it may be a method."""
    assert find_trait(Tuning(fidelity="paper"), "fidelity", "sound") == "paper"
    assert find_trait(Few(tuning=Tuning(fidelity="paper")), "fidelity", "sound") == "paper"
    assert find_trait(Attack(), "fidelity", "sound") == "sound"
    assert find_trait(Attack(head=Probe(input_size=7)), "input_size", None) == 7
    assert find_trait(Tuning(head=Probe(input_size=7)), "version", None) == 1
    assert find_trait(Few(), "precision", None)("cuda") == "half on cuda"
