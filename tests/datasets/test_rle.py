"""Tests that encoded masks are decoded to the same masks, here and by COCO's own code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bob_gauntlet.datasets.rle import decode_mask, encode_mask
from bob_gauntlet.errors import BobError

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(MASKS)
def test_a_mask_is_encoded_and_decoded(mask: np.ndarray) -> None:
    """Any mask is restored; all runs are positive but the first, which counts pixels that are not set."""
    rle = encode_mask(mask)
    assert all(count > 0 for count in rle["counts"][1:])
    decoded = decode_mask(rle)
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(MASKS)
def test_pycocotools_reads_the_same(mask: np.ndarray) -> None:
    """pycocotools reads the same mask and area."""
    coco = pytest.importorskip("pycocotools.mask")
    height, width = mask.shape
    rle = coco.frPyObjects(encode_mask(mask), height, width)
    np.testing.assert_array_equal(coco.decode(rle), mask)
    assert coco.area(rle) == mask.sum()


@given(st.data())
def test_the_first_run_may_be_empty(data: st.DataObject) -> None:
    """The first run is empty where the top left pixel is set."""
    mask = data.draw(MASKS)
    assert (encode_mask(mask)["counts"][0] == 0) == mask[0, 0]


def test_a_row_and_a_column_by_hand() -> None:
    """Runs go down the columns: in 2 x 3 pixels the lower row is every second of six pixels."""
    assert encode_mask(np.array([[0, 0, 0], [1, 1, 1]])) == {"size": [2, 3], "counts": [1, 1, 1, 1, 1, 1]}
    assert encode_mask(np.array([[0, 1, 0], [0, 1, 0]])) == {"size": [2, 3], "counts": [2, 2, 2]}


@pytest.mark.parametrize("counts", [[], [5], [3, 4], [1, 1, 1]])
def test_runs_that_do_not_fill_the_image_are_refused(counts: list[int]) -> None:
    """Run lengths that do not fill the mask raise an error."""
    with pytest.raises(BobError, match=f"a mask of 2 x 3 pixels has runs of {sum(counts)} pixels"):
        decode_mask({"size": [2, 3], "counts": counts})
