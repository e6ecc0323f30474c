"""Canonical form, hash and scale of recipes, nested ones too."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from bob_gauntlet.protocols.recipe import Measured, at_scale, canonical, protocol_hash


@dataclass(frozen=True)
class Probe:
    """A recipe with a tuple and a mini budget."""

    id: ClassVar[str] = "probe"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = False
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    input_size: int | None = None
    strengths: tuple[float, ...] = (1.0, 10.0)

    def evaluate(self, backbone: object, dataset: object, run: object) -> Iterator[Measured]:
        """One constant."""
        yield Measured("top1", 50.0)


@dataclass(frozen=True)
class Attack:
    """A recipe around another."""

    id: ClassVar[str] = "attack"
    version: ClassVar[int] = 3
    seeded: ClassVar[bool] = False
    mini: ClassVar[Mapping[str, Any]] = {"steps": 5}

    head: Probe = field(default_factory=Probe)
    steps: int = 20


def test_defaults_leave_no_trace() -> None:
    """A new field whose default keeps the old behaviour changes no hash."""
    assert canonical(Probe()) == {"id": "probe", "version": 1}
    assert canonical(Probe(strengths=(1.0,))) == {"id": "probe", "version": 1, "strengths": [1.0]}


def test_a_nested_recipe_brings_its_own_version_once_it_differs() -> None:
    """A changed head changes the hash of what is built on it."""
    assert canonical(Attack(head=Probe(input_size=64)))["head"] == {"id": "probe", "version": 1, "input_size": 64}
    assert protocol_hash(Attack()) != protocol_hash(Attack(head=Probe(input_size=64)))


def test_mini_changes_the_budget_of_nested_recipes_too() -> None:
    """The same protocol with less to do."""
    small = at_scale(Attack(), "mini")
    assert (small.steps, small.head.input_size) == (5, 96)
    assert at_scale(Attack(), "paper") == Attack()


def test_what_a_user_set_is_kept_at_mini_scale() -> None:
    """An explicit size wins over the mini one."""
    assert at_scale(Probe(input_size=64), "mini").input_size == 64


def test_a_changed_version_of_a_default_head_moves_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that computes something else is another protocol, also where it is the default one."""
    before = protocol_hash(Attack())
    monkeypatch.setattr(Probe, "version", 2)
    assert protocol_hash(Attack()) != before
