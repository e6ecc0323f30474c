"""Tests of the validity of masks against pycocotools, which wrote them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle

from bob_gauntlet.datasets.coco_masks import are_run_lengths, polygons


@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_compressed_run_lengths_of_any_mask_are_valid(data: st.DataObject, height: int, width: int) -> None:
    """Every mask that pycocotools compresses is valid for its own number of pixels and for no other one."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    density = data.draw(st.sampled_from([0, 0.01, 0.5, 1]))
    mask = np.random.default_rng(seed).random((height, width)) < density
    text = rle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert are_run_lengths(text, height * width)
    assert not are_run_lengths(text, height * width + 1)


@given(runs=st.lists(st.integers(1, 10**6), min_size=2, max_size=30), data=st.data())
def test_text_that_is_cut_short_is_refused(runs: list[int], data: st.DataObject) -> None:
    """Run lengths whose text lost its end do not fill the image, and pycocotools would read past them."""
    text = rle.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)["counts"].decode()
    assert are_run_lengths(text, sum(runs))
    kept = data.draw(st.integers(0, len(text) - 1))
    assert not are_run_lengths(text[:kept], sum(runs))


@pytest.mark.parametrize(
    "counts", ["", "\x01", "o", "\u20ac", None, 5, {}, [], [3, -1, 4], ["6"], [6.0], [True] * 6, [5], "5", "24P"]
)
def test_other_counts_are_refused(counts: object) -> None:
    """Nothing else is a mask of six pixels."""
    assert not are_run_lengths(counts, 6)


@given(
    shape=st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=5), min_size=1, max_size=3
    )
)
def test_polygons_are_read_from_every_form(shape: list[list[tuple[int, int]]]) -> None:
    """Corners as numbers or as pairs, and a single polygon without its list, give the same polygons."""
    flat = [[number for corner in polygon for number in corner] for polygon in shape]
    pairs = [[list(corner) for corner in polygon] for polygon in shape]
    assert polygons(flat) == polygons(pairs) == (flat, True)
    assert polygons(flat[0]) == polygons(pairs[0]) == (flat[:1], True)
