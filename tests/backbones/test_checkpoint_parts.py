"""Tests of the parts of a checkpoint: which networks it may hold, how they are named, and what is left over."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.backbones.checkpoint_parts import (
    Part,
    choices,
    count_left_over,
    find_parts,
    keep_published,
    names_part,
)
from bob_gauntlet.backbones.checkpoints import Groups

NAMES = ("a.weight", "a.bias", "b.0.weight", "b.1.weight")
steps = st.sampled_from(["module", "model", "model_ema", "encoder_q", "student", "x"])
labels = st.lists(steps, min_size=1, max_size=3).map(".".join)


def groups_of(**names: str) -> Groups:
    """Return a checkpoint: the label of each state dict, with _ for a dot, -> prefixes of the networks in it."""
    return {
        label.replace("__", "."): {f"{p}{n}": torch.zeros(1) for p in prefixes.split(",") for n in NAMES}
        for label, prefixes in names.items()
    }


def labels_of(groups: Groups, wanted: str = "") -> list[str]:
    """Return the labels of the parts that may be a network of NAMES."""
    return [part.label for part in find_parts(groups, NAMES, wanted)]


@pytest.mark.parametrize(
    ("groups", "wanted", "parts"),
    [
        (groups_of(model=""), "", ["model"]),
        (groups_of(model="module.,ema."), "", ["model.module", "model.ema"]),
        (groups_of(model="module.,ema."), "ema", ["model.ema"]),
        (groups_of(model="", model_ema=""), "model", ["model"]),
        (groups_of(model="", model_ema=""), "model_ema", ["model_ema"]),
        (groups_of(model="", model_ema=""), "ema", []),
        (groups_of(model="student.,teacher."), "model.teacher", ["model.teacher"]),
        ({"": {**groups_of(x="")["x"], **groups_of(x="ema.")["x"]}}, "", [".", "ema"]),
        ({"": {**groups_of(x="")["x"], **groups_of(x="ema.")["x"]}}, ".", ["."]),
        # names of another format: the larger state dicts
        ({"big": {f"n{i}": torch.zeros(1) for i in range(9)}, "small": {"n": torch.zeros(1)}}, "", ["big"]),
        ({}, "", []),
    ],
    ids=str,
)
def test_parts(groups: Groups, wanted: str, parts: list[str]) -> None:
    """The parts are the prefixes and state dicts under which most names of the network lie, or what a user named."""
    assert labels_of(groups, wanted) == parts


@given(st.lists(labels, min_size=1, max_size=5, unique=True))
def test_every_choice_names_its_part_and_no_other(parts: list[str]) -> None:
    """The name that an error offers after `#` leads to the part that it stands for."""
    groups: Groups = {label: {name: torch.zeros(1) for name in NAMES} for label in parts}
    for label, text in choices(parts).items():
        assert names_part(text, label)
        assert labels_of(groups, text) == [label]


@given(st.lists(labels, unique=True))
def test_conventions_only_take_away(parts: list[str]) -> None:
    """Of any parts at least one is left, in the order given, and all where no published network is among the parts."""
    kept = keep_published(parts)
    assert bool(kept) == bool(parts)
    assert kept == [label for label in parts if label in kept]
    if not any("encoder_q" in label for label in parts):
        assert kept == parts


def test_left_over_tensors_are_counted_by_place() -> None:
    """Places are heads of the network, modules beside it, and keys beside its state dict; the most come first."""
    state_dict = {
        **{f"module.encoder_q.{name}": torch.zeros(1) for name in (*NAMES, "fc.0.weight", "fc.0.bias")},
        **{f"module.encoder_k.{name}": torch.zeros(1) for name in NAMES},
        "module.queue": torch.zeros(1),
    }
    groups = {
        "state_dict": state_dict, "": {"step": torch.zeros(1)}, "optimizer.state.0": {"exp_avg": torch.zeros(1)},
        "optimizer.state.1": {"exp_avg": torch.zeros(1), "exp_avg_sq": torch.zeros(1)},
    }  # fmt: skip
    part = Part("state_dict", "module.encoder_q.", {})
    assert list(count_left_over(groups, part, set(NAMES)).items()) == [
        ("module.encoder_k", 4), ("optimizer", 3), ("module.encoder_q.fc", 2), ("module.queue", 1), ("step", 1),
    ]  # fmt: skip
