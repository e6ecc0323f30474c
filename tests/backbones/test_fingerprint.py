"""What makes two backbones the same, and what does not."""

import functools
import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from bob_gauntlet.backbones.fingerprint import file_digest, fingerprint, module_code


class Small(nn.Module):
    """A weight, a buffer of every awkward kind, and a state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("scalar", torch.tensor(1.0))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("flag", torch.tensor([True, False]))
        self.register_buffer("narrow", torch.ones(3, dtype=torch.bfloat16))
        self.extra = 1

    def get_extra_state(self) -> int:
        """As quantised layers keep their scales."""
        return self.extra

    def set_extra_state(self, state: int) -> None:
        """The inverse."""
        self.extra = state


def of(module: nn.Module, architecture: str = "a", **arguments: object) -> str:
    """Its fingerprint with that architecture and those arguments."""
    return fingerprint(module, architecture, arguments, {"timm": "1"})


def test_equal_networks_have_equal_fingerprints() -> None:
    """16 hex digits, the same for a copy, in any order of arguments and memory layout."""
    assert of(Small(), x=1, y=2) == of(Small(), y=2, x=1)
    assert len(of(Small())) == 16
    int(of(Small()), 16)
    conv = nn.Conv2d(3, 4, 3)
    plain = of(conv)
    assert of(conv.to(memory_format=torch.channels_last)) == plain


@pytest.mark.parametrize("name", ["weight", "scalar", "flag", "narrow"])
def test_a_changed_tensor_changes_it(name: str) -> None:
    """One element of a parameter or a buffer, by the smallest step of its type."""
    module = Small()
    tensor = module.state_dict()[name]
    tensor.view(-1).view(torch.uint8)[0] ^= 1
    assert of(module) != of(Small())


def test_extra_state_is_in_it() -> None:
    """State that is no tensor can change features too."""
    module = Small()
    module.extra = 2
    assert of(module) != of(Small())


def test_type_and_shape_are_in_it() -> None:
    """Equal bytes under another type or shape are another network."""
    flat, square, integer = nn.Module(), nn.Module(), nn.Module()
    flat.register_buffer("x", torch.zeros(4))
    square.register_buffer("x", torch.zeros(2, 2))
    integer.register_buffer("x", torch.zeros(4, dtype=torch.int32))
    assert len({of(flat), of(square), of(integer)}) == 3


def test_names_are_in_it() -> None:
    """The same tensors in each other's place are another network."""
    one, two = nn.Module(), nn.Module()
    for name, tensor in (("a", torch.zeros(1)), ("b", torch.ones(1))):
        one.register_buffer(name, tensor)
        two.register_buffer({"a": "b", "b": "a"}[name], tensor)
    assert of(one) != of(two)


def test_architecture_arguments_and_code_are_in_it() -> None:
    """Equal weights are not enough."""
    module = Small()
    others = [of(module, "b"), of(module, heads=6), of(module, heads=12), fingerprint(module, "a", {}, {"timm": "2"})]
    assert len({of(module), *others}) == 5


def test_the_adapters_version_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features change where this package turns networks into features in another way."""
    before = of(Small())
    monkeypatch.setattr("bob_gauntlet.backbones.fingerprint.ADAPTER_VERSION", 2)
    assert of(Small()) != before


def test_code_is_the_module_that_defines_a_factory() -> None:
    """A decorated function is looked through; a callable without source is found by the module that was named."""
    own = module_code(test_names_are_in_it)

    @functools.wraps(inspect.getsource)
    def wrapped() -> None:
        """Looks like inspect.getsource."""

    assert module_code(wrapped) == module_code(inspect.getsource) != own
    assert module_code(functools.partial(of), __name__) == own
    assert set(module_code(functools.partial(of))) == {"module"}


def test_a_files_digest_is_its_contents(tmp_path: Path) -> None:
    """SHA-256 (FIPS 180-2, appendix B.1: "abc"); no file has none."""
    (tmp_path / "é x").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(str(tmp_path / "é x")) == abc
    assert file_digest("") == ""
