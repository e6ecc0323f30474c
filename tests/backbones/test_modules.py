"""Networks of the user that cannot be used as they are: lazy, meta, sparse, quantised, complex, half, scripted."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.modules import check_tensors, to_float32
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.errors import UsageError

IMAGES = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def conv(**options: Any) -> nn.Sequential:
    """Return a small network of one convolution."""
    return nn.Sequential(nn.Conv2d(3, 4, 8, stride=8, **options))


def with_tensor(tensor: torch.Tensor) -> nn.Module:
    """Return a network with one more buffer, which is called `extra`."""
    module = conv()
    module.register_buffer("extra", tensor)
    return module


def quantised() -> nn.Module:
    """Return a network whose Linear layer is quantised."""
    from torch.ao.nn.quantized.dynamic import Linear

    return nn.Sequential(nn.Conv2d(3, 4, 8), Linear(4, 4))


UNUSABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 8)), "its tensor 0.weight has no shape yet, since it is in a lazy"),
    "meta": (lambda: conv(device="meta"), "its tensor 0.weight has no values, since it is on the meta device; load"),
    "sparse": (lambda: with_tensor(torch.eye(3).to_sparse()), "its tensor extra is sparse; return the network with"),
    "sparse rows": (lambda: with_tensor(torch.eye(3).to_sparse_csr()), "its tensor extra is sparse"),
    "complex": (lambda: with_tensor(torch.zeros(3, dtype=torch.complex64)), "its tensor extra is complex"),
    "quantised tensor": (
        lambda: with_tensor(torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.quint8)), "extra is quantised"
    ),
    "quantised layer": (quantised, "its part 1 is quantised; return the float network"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(UNUSABLE))
def test_tensors_without_plain_values_are_refused(kind: str) -> None:
    """In one line that names the tensor."""
    build, message = UNUSABLE[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of quantised and of sparse tensors
        module = build()
    with pytest.raises(UsageError) as caught:
        check_tensors(module, "net")
    assert str(caught.value).startswith("net: ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_plain_tensors_pass() -> None:
    """Floats of every precision, integers and truth values are plain."""
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8):
        check_tensors(with_tensor(torch.ones(3, dtype=dtype)), "net")


@pytest.mark.parametrize(
    ("dtype", "note"),
    [
        (torch.bfloat16, "its bfloat16 weights were converted to float32"),
        (torch.float16, "its float16 weights were converted to float32"),
        (torch.float64, "its float64 weights were converted to float32"),
        (torch.float32, ""),
    ],
)
def test_weights_of_another_precision_are_converted(dtype: torch.dtype, note: str) -> None:
    """The conversion is said."""
    module = conv(dtype=dtype)
    assert to_float32(module) == note
    assert module[0].weight.dtype == torch.float32


def test_five_dimensional_weights_are_measured() -> None:
    """The weights of a Conv3d have no memory format "channels last"."""
    module = nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 4, (1, 8, 8), stride=(1, 8, 8)), nn.Flatten(2, 3))
    module = nn.Sequential(*module, nn.Unflatten(2, (-1, 1)), nn.Flatten(2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = load(BackboneSpec(name="net", text="", scheme="module", target="n"), "cpu", module)
    assert backbone.embed(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("compile_network", [torch.jit.script, lambda module: torch.jit.trace(module, IMAGES)])
def test_torchscript_is_measured_and_trained(compile_network: Callable[[nn.Module], nn.Module]) -> None:
    """Its features are those of the network it was made from, and a copy of it can be trained."""
    plain = nn.Sequential(*conv(), nn.BatchNorm2d(4), nn.ReLU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        compiled = compile_network(plain)
    backbone = load(BackboneSpec(name="net", text="", scheme="module", target="n"), "cpu", compiled)
    torch.testing.assert_close(backbone.embed(IMAGES), plain(IMAGES).mean((2, 3)))
    network = Network(backbone, 2, backbone.identity.transform)
    network.train()(IMAGES).sum().backward()
    weights = list(network.body.parameters())
    assert len(weights) == 4
    assert all(weight.grad is not None for weight in weights)


def test_another_script_is_another_backbone() -> None:
    """The code of a compiled network is in its fingerprint: two networks without weights may differ."""
    digests = []
    for factor in (1.0, 2.0, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.trace(Scale(factor), IMAGES)
        backbone = load(BackboneSpec(name="net", text="", scheme="module", target="n"), "cpu", script)
        digests.append(backbone.identity.fingerprint)
    assert digests[0] == digests[2] != digests[1]


class Scale(nn.Module):
    """Mean of the maps times a number that is no weight."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scaled mean."""
        return images.mean((2, 3)) * self.factor
