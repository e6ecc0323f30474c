"""The probing forward: what a network may return, and which networks are refused or warned of before anything runs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.probing import probe
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.errors import UsageError


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, output: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.output = output

    def forward(self, maps: torch.Tensor) -> Any:
        """Return the function of the maps."""
        return self.output(maps)


class AlwaysTraining(nn.BatchNorm2d):
    """A BatchNorm that no evaluation mode reaches."""

    def train(self, mode: bool = True) -> "AlwaysTraining":
        """Stay in training mode."""
        return super().train(True)


def tokens(maps: torch.Tensor, prefix: int = 0) -> torch.Tensor:
    """Return the positions as (B, N, 8), after `prefix` other tokens."""
    positions = maps.flatten(2).transpose(1, 2)
    return torch.cat([positions.mean(1, keepdim=True).expand(-1, prefix, -1), positions], dim=1)


def net(output: Callable[[torch.Tensor], Any], *layers: nn.Module) -> nn.Module:
    """Return a convolution of stride 16 to 8 channels with seeded weights, `layers`, and a function of their maps."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), *layers, Function(output))


def backbone_of(module: nn.Module, **transform: Any) -> Any:
    """Load a network as a factory's or the caller's is loaded."""
    return load(BackboneSpec(name="net", text="net", scheme="module", target="n", transform=transform), "cpu", module)


def refusal(module: nn.Module, **transform: Any) -> str:
    """Return the one line with which a network is refused."""
    with pytest.raises(UsageError) as caught:
        backbone_of(module, **transform)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("net: ")
    return str(caught.value)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "channels last": (lambda: net(lambda m: m.permute(0, 2, 3, 1)), "its channels come last; return maps.permute("),
    "no class token": (lambda: net(tokens), "6 x 6 patches without a class token; return tokens.mean(1)"),
    "flat maps": (lambda: net(lambda m: m.flatten(1)), "depends on the input size (288 at 96 px and 128 at 64 px)"),
    "channels first tokens": (lambda: net(lambda m: m.flatten(2)), "depends on the input size (36 at 96 px and 16"),
    "dropout always on": (lambda: net(lambda m: F.dropout(m, 0.1).mean((2, 3))), "of the same images give different"),
    "noise": (lambda: net(lambda m: m.mean((2, 3)) + 0.01 * torch.randn(8)), "of the same images give different"),
    "batch statistics": (
        lambda: net(lambda m: m.mean((2, 3)), nn.BatchNorm2d(8, track_running_stats=False)),
        "depend on the other images of its batch; use running statistics",
    ),
    "BatchNorm in training mode": (
        lambda: net(lambda m: m.mean((2, 3)), AlwaysTraining(8)), "depend on the other images of its batch"
    ),
    "BatchNorm of one vector": (
        lambda: net(lambda m: F.batch_norm(m.mean((2, 3)), None, None, training=True)),
        "its forward fails on a batch of one image (ValueError: Expected more than 1 value per channel",
    ),
    "mean of the batch": (lambda: net(lambda m: (m - m.mean(0)).mean((2, 3))), "depend on the other images"),
    "complex": (lambda: net(lambda m: torch.fft.fft(m.mean((2, 3)))), "its features are complex64 numbers"),
    "integers": (lambda: net(lambda m: m.mean((2, 3)).long()), "its features are int64 numbers"),
    "NaN": (lambda: net(lambda m: m.mean((2, 3)) / 0), "its features of noise are NaN or infinite"),
    "one dimension": (lambda: net(lambda m: m.mean((1, 2, 3))), "forward gave (2,) for 2 images"),
    "five dimensions": (lambda: net(lambda m: m[..., None]), "for 2 images; a factory's module has to return (B, D)"),
    "a tuple": (lambda: net(lambda m: (m, m)), "forward gave tuple for 2 images"),
    "another batch": (lambda: net(lambda m: m.mean((2, 3))[:1]), "forward gave (1, 8) for 2 images"),
    "an error": (lambda: net(lambda m: m @ torch.zeros(5, 5)), "its forward fails on (2, 3, 224, 224) images (Runtime"),
    "one size, not declared": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8)), "is declared in bob.toml as size = PIXELS"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_gives_no_features_is_refused(kind: str) -> None:
    """In one line that says what is wrong and what to do."""
    build, message = REFUSED[kind]
    assert message in refusal(build())


ACCEPTED: dict[str, Callable[[], nn.Module]] = {
    "maps": lambda: net(lambda m: m),
    "vectors": lambda: net(lambda m: m.mean((2, 3))),
    "tokens after a class token": lambda: net(lambda m: tokens(m, 1)),
    "tokens after a class token and four registers": lambda: net(lambda m: tokens(m, 5)),
    "one token": lambda: net(lambda m: tokens(m).mean(1, keepdim=True)),
    "queries": lambda: net(lambda m: tokens(m).mean(1, keepdim=True).expand(-1, 100, -1)),
    "BatchNorm": lambda: net(lambda m: m.mean((2, 3)), nn.BatchNorm2d(8)),
    "dropout that evaluation switches off": lambda: net(lambda m: m.mean((2, 3)), nn.Dropout(0.5)),
    "half precision": lambda: net(lambda m: m.mean((2, 3)).half()),
    "no features": lambda: net(lambda m: 0 * m.mean((2, 3))),
}


@pytest.mark.parametrize("kind", list(ACCEPTED))
def test_what_the_contract_allows_is_taken(kind: str) -> None:
    """It takes any size, and its user is warned of nothing."""
    backbone = backbone_of(ACCEPTED[kind]())
    assert backbone.identity.traits.any_size
    assert backbone.identity.details["warnings"] == []


@pytest.mark.parametrize("side", [32, 96])
def test_a_network_of_one_size_is_measured_at_that_size(side: int) -> None:
    """Its size is declared, and a forward pass at another size fails."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 8), nn.ReLU())
    identity = backbone_of(flat, size=side).identity
    assert [identity.input_transform(size).size for size in (96, 64, None)] == [side] * 3


def test_single_patches_of_a_fixed_network_are_refused() -> None:
    """Where there is one size only, a square number of tokens is that of the patches."""
    fixed = net(lambda maps: maps.transpose(1, 2), Function(lambda maps: maps.flatten(2)), nn.Linear(49, 49))
    assert "7 x 7 patches without a class token" in refusal(fixed, size=112)


def test_the_logits_of_a_classifier_are_warned_of() -> None:
    """torchvision's resnet18 returns 1,000 logits; what goes into its last layer is not warned of."""
    torchvision = pytest.importorskip("torchvision")
    classifier = torchvision.models.resnet18()
    [note] = backbone_of(classifier).identity.details["warnings"]
    assert note.startswith("its 1000 features are the output of its last Linear layer, fc: where these are the logits")
    classifier.fc = nn.Identity()
    assert backbone_of(classifier).identity.details["warnings"] == []


def test_probing_leaves_no_trace() -> None:
    """Neither weights, buffers, hooks nor the random state change."""
    backbone = backbone_of(net(lambda m: m.mean((2, 3)), nn.BatchNorm2d(8)))
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    state = torch.random.get_rng_state()
    probe(backbone)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.module.state_dict().items())
    assert not any(part._forward_hooks for part in backbone.module.modules())
