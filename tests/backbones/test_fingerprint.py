"""Tests of fingerprints: what makes two backbones equal, and what does not."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bob_gauntlet.backbones.fingerprint import file_digest, fingerprint


class Small(nn.Module):
    """A module with a weight, buffers of unusual kinds, and a state that is not a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("scalar", torch.tensor(1.0))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("flag", torch.tensor([True, False]))
        self.register_buffer("narrow", torch.ones(3, dtype=torch.bfloat16))
        self.extra = 1

    def get_extra_state(self) -> int:
        """Return the extra state; quantised layers keep their scales in it."""
        return self.extra

    def set_extra_state(self, state: int) -> None:
        """Set the extra state."""
        self.extra = state


def fingerprint_of(module: nn.Module, architecture: str = "a", **arguments: object) -> str:
    """Return the fingerprint of a module with an architecture and arguments."""
    return fingerprint(module, architecture, arguments, {"timm": "1"})


def test_equal_networks_have_equal_fingerprints() -> None:
    """A fingerprint is 16 hex digits, equal for a copy, for any order of arguments and for any memory layout."""
    assert fingerprint_of(Small(), x=1, y=2) == fingerprint_of(Small(), y=2, x=1)
    assert len(fingerprint_of(Small())) == 16
    int(fingerprint_of(Small()), 16)
    conv = nn.Conv2d(3, 4, 3)
    plain = fingerprint_of(conv)
    assert fingerprint_of(conv.to(memory_format=torch.channels_last)) == plain


@pytest.mark.parametrize("name", ["weight", "scalar", "flag", "narrow"])
def test_a_changed_tensor_changes_it(name: str) -> None:
    """One bit of a parameter or a buffer changes the fingerprint."""
    module = Small()
    tensor = module.state_dict()[name]
    tensor.view(-1).view(torch.uint8)[0] ^= 1
    assert fingerprint_of(module) != fingerprint_of(Small())


def test_extra_state_is_in_it() -> None:
    """State that is not a tensor can change features, and changes the fingerprint."""
    module = Small()
    module.extra = 2
    assert fingerprint_of(module) != fingerprint_of(Small())


def test_type_and_shape_are_in_it() -> None:
    """Equal bytes of another type or shape have another fingerprint."""
    flat, square, integer = nn.Module(), nn.Module(), nn.Module()
    flat.register_buffer("x", torch.zeros(4))
    square.register_buffer("x", torch.zeros(2, 2))
    integer.register_buffer("x", torch.zeros(4, dtype=torch.int32))
    assert len({fingerprint_of(flat), fingerprint_of(square), fingerprint_of(integer)}) == 3


def test_names_are_in_it() -> None:
    """Two tensors that exchange their names change the fingerprint."""
    one, two = nn.Module(), nn.Module()
    for name, tensor in (("a", torch.zeros(1)), ("b", torch.ones(1))):
        one.register_buffer(name, tensor)
        two.register_buffer({"a": "b", "b": "a"}[name], tensor)
    assert fingerprint_of(one) != fingerprint_of(two)


def test_architecture_arguments_and_code_are_in_it() -> None:
    """Equal weights with another architecture, argument or package version have another fingerprint."""
    module = Small()
    changed_arguments = [fingerprint_of(module, heads=heads) for heads in (6, 12)]
    others = [fingerprint_of(module, "b"), *changed_arguments, fingerprint(module, "a", {}, {"timm": "2"})]
    assert len({fingerprint_of(module), *others}) == 5


def test_the_version_of_the_adapter_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the code that turns networks into features changes the fingerprint."""
    before = fingerprint_of(Small())
    monkeypatch.setattr("bob_gauntlet.backbones.fingerprint.ADAPTER_VERSION", 2)
    assert fingerprint_of(Small()) != before


def test_a_files_digest_is_its_contents(tmp_path: Path) -> None:
    """The digest is the SHA-256 (FIPS 180-2, appendix B.1: "abc"), and "" for no file."""
    (tmp_path / "é x").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(str(tmp_path / "é x")) == abc
    assert file_digest("") == ""
