"""Pyramids of a single map, their sizes and modules, and the normalisation of maps."""

from typing import Any, get_args

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from bob_gauntlet.engine.detection.necks import LastMap, LastMapPyramid, NormalisedMaps

KINDS = get_args(LastMap)


def half(side: int) -> int:
    """Return half the side, rounded up."""
    return (side + 1) // 2


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 9))
def test_the_sizes_of_a_pyramid(kind: LastMap, height: int, width: int) -> None:
    """The levels have 4, 2, 1, 1/2 and 1/4 times the sides of the map, rounded up."""
    levels = LastMapPyramid(8, 4, kind)([torch.zeros(2, 8, height, width)])
    assert [tuple(level.shape) for level in levels] == [
        (2, 4, *sides)
        for sides in (
            (4 * height, 4 * width), (2 * height, 2 * width), (height, width), (half(height), half(width)),
            (half(half(height)), half(half(width))),
        )
    ]  # fmt: skip


def widths(kind: LastMap) -> list[list[tuple[int, int]]]:
    """Return the input and output channels of the transposed convolutions."""
    blocks = LastMapPyramid(8, 4, kind).resize
    return [
        [(m.in_channels, m.out_channels) for m in block.modules() if isinstance(m, nn.ConvTranspose2d)]
        for block in blocks
    ]


def test_how_wide_an_enlarged_map_is() -> None:
    """It is as wide as the map in the paper's detectors; a half and a quarter of it in ViTDet."""
    assert widths("wide") == [[(8, 8), (8, 8)], [(8, 8)], [], []]
    assert widths("simple") == [[(8, 4), (4, 2)], [(8, 4)], [], []]


def test_what_a_pyramid_is_made_of() -> None:
    """Every level is made of the last map alone; the coarsest is every second pixel of the one before."""
    torch.manual_seed(0)
    neck, last = LastMapPyramid(8, 4), torch.randn(1, 8, 6, 5)
    levels = neck([torch.full((1, 8, 12, 10), torch.nan), last])
    assert torch.equal(levels[2], neck.reduce[2](last))
    maxima = functional.max_pool2d(functional.pad(last, (0, 1), value=-torch.inf), 2)
    assert torch.equal(levels[3], neck.reduce[3](maxima))
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])
    assert torch.equal(levels[1], neck.reduce[1](neck.resize[1](last)))
    # the output is normalised over the channels at each pixel
    assert levels[2].mean(dim=1).abs().max() < 1e-5
    assert [type(each).__name__ for each in neck.reduce[0]] == ["Conv2d", "LayerNorm2d"] * 2
    assert [type(each).__name__ for each in neck.resize[0]][1:3] == ["LayerNorm2d", "GELU"]


class Unchanged(nn.Module):
    """Returns its input."""

    def forward(self, maps: Any) -> Any:
        """Return the maps."""
        return maps


def test_maps_are_normalised_each_by_itself() -> None:
    """Each map is normalised at every pixel over the channels, so that a factor does not change it."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 8, 6, 5), 3 + torch.randn(2, 16, 3, 2)]
    normed = NormalisedMaps([8, 16], Unchanged())
    outputs = normed(maps)
    for output in outputs:
        assert output.mean(dim=1).abs().max() < 1e-5
        assert (output.var(dim=1, unbiased=False) - 1).abs().max() < 1e-3
    again = normed([1000 * maps[0], maps[1] / 10])
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(outputs, again, strict=True))


def test_maps_are_float32_in_any_precision() -> None:
    """The maps are float32 under autocast: mmdet casts regions to their dtype, and bfloat16 would round corners."""
    with torch.autocast("cpu", torch.bfloat16):
        outputs = NormalisedMaps([8], nn.Sequential(Unchanged(), First(), nn.Conv2d(8, 4, 1), Row()))(
            [torch.randn(1, 8, 6, 5)]
        )
    assert [output.dtype for output in outputs] == [torch.float32]


class First(nn.Module):
    """The first map."""

    def forward(self, maps: Any) -> Any:
        """Return the first of several maps."""
        return maps[0]


class Row(nn.Module):
    """A pyramid of one map."""

    def forward(self, level: Any) -> Any:
        """Return the map in a tuple."""
        assert level.dtype == torch.bfloat16
        return (level,)
