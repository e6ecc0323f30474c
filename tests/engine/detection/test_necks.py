"""Pyramids of a single map: their sizes, what they are made of, and maps at any scale."""

from typing import Any, get_args

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from bob_gauntlet.engine.detection.necks import LastMap, LastMapPyramid, NormalisedMaps

KINDS = get_args(LastMap)


def half(side: int) -> int:
    """Of pixels, rounded up: no pixel is lost at an odd side."""
    return (side + 1) // 2


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 9))
def test_the_sizes_of_a_pyramid(kind: LastMap, height: int, width: int) -> None:
    """4, 2, 1, 1/2 and 1/4 times the map's, also where that is odd."""
    found = LastMapPyramid(8, 4, kind)([torch.zeros(2, 8, height, width)])
    assert [tuple(each.shape) for each in found] == [
        (2, 4, *sides)
        for sides in (
            (4 * height, 4 * width), (2 * height, 2 * width), (height, width), (half(height), half(width)),
            (half(half(height)), half(half(width))),
        )
    ]  # fmt: skip


def widths(kind: LastMap) -> list[list[tuple[int, int]]]:
    """Channels in and out of the convolutions that resize."""
    blocks = LastMapPyramid(8, 4, kind).resize
    return [
        [(m.in_channels, m.out_channels) for m in block.modules() if isinstance(m, nn.ConvTranspose2d)]
        for block in blocks
    ]


def test_how_wide_a_map_is_blown_up() -> None:
    """As it is in the paper's detectors; a half and a quarter in ViTDet."""
    assert widths("wide") == [[(8, 8), (8, 8)], [(8, 8)], [], []]
    assert widths("simple") == [[(8, 4), (4, 2)], [(8, 4)], [], []]


def test_what_a_pyramid_is_made_of() -> None:
    """Each map of the last one alone: by maxima where it is smaller, the coarsest every second pixel of the next."""
    torch.manual_seed(0)
    neck, last = LastMapPyramid(8, 4), torch.randn(1, 8, 6, 5)
    found = neck([torch.full((1, 8, 12, 10), torch.nan), last])
    assert torch.equal(found[2], neck.reduce[2](last))
    maxima = functional.max_pool2d(functional.pad(last, (0, 1), value=-torch.inf), 2)
    assert torch.equal(found[3], neck.reduce[3](maxima))
    assert torch.equal(found[4], found[3][:, :, ::2, ::2])
    assert torch.equal(found[1], neck.reduce[1](neck.resize[1](last)))
    # what it reduces to is normalised over the channels at each pixel
    assert found[2].mean(dim=1).abs().max() < 1e-5
    assert [type(each).__name__ for each in neck.reduce[0]] == ["Conv2d", "LayerNorm2d"] * 2
    assert [type(each).__name__ for each in neck.resize[0]][1:3] == ["LayerNorm2d", "GELU"]


class Kept(nn.Module):
    """Gives what it is given."""

    def forward(self, maps: Any) -> Any:
        """As it is."""
        return maps


def test_maps_are_normalised_each_by_itself() -> None:
    """At every pixel over the channels: backbones whose maps differ by a factor give the same."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 8, 6, 5), 3 + torch.randn(2, 16, 3, 2)]
    normed = NormalisedMaps([8, 16], Kept())
    found = normed(maps)
    for one in found:
        assert one.mean(dim=1).abs().max() < 1e-5
        assert (one.var(dim=1, unbiased=False) - 1).abs().max() < 1e-3
    again = normed([1000 * maps[0], maps[1] / 10])
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(found, again, strict=True))


def test_maps_are_float32_in_any_arithmetic() -> None:
    """mmdet casts the regions to their dtype: bfloat16 has no number between 1024 and 1032."""
    with torch.autocast("cpu", torch.bfloat16):
        found = NormalisedMaps([8], nn.Sequential(Kept(), First(), nn.Conv2d(8, 4, 1), Row()))(
            [torch.randn(1, 8, 6, 5)]
        )
    assert [one.dtype for one in found] == [torch.float32]


class First(nn.Module):
    """The first map."""

    def forward(self, maps: Any) -> Any:
        """Of several."""
        return maps[0]


class Row(nn.Module):
    """A pyramid of one map."""

    def forward(self, one: Any) -> Any:
        """In a tuple."""
        assert one.dtype == torch.bfloat16
        return (one,)
