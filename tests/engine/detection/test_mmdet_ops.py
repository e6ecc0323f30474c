"""The replacements of mmcv's compiled operators against their definitions, and messages where mmdet cannot be used."""

import sys
import types
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.engine.detection import mmdet_ops
from bob_gauntlet.errors import BobError, MissingError
from tests.helpers import shapes

prepare: Any = mmdet_ops.prepare.__wrapped__
EXTRA = 'pip install "bob-gauntlet[detection]"'


@pytest.fixture(autouse=True)
def ready() -> None:
    """mmcv can be imported."""
    with shapes.nothing_missing():
        mmdet_ops.prepare()


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """Interpolate a (H, W) map; outside it is that of the border for one pixel, and zero beyond."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top, left] * (1 - x + left) + plane[top, right] * (x - left)
    lower = plane[bottom, left] * (1 - x + left) + plane[bottom, right] * (x - left)
    return float(upper * (1 - y + top) + lower * (y - top))


def roi_align_by_hand(
    maps: np.ndarray, rois: np.ndarray, size: tuple[int, int], scale: float, points: int, aligned: bool
) -> np.ndarray:
    """Average bilinear values on a grid in each bin of a region (He et al., Mask R-CNN, ICCV 2017, section 3)."""
    means = np.zeros((len(rois), maps.shape[1], *size))
    for number, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (scale * corner - 0.5 * aligned for corner in corners)
        sides = [bottom - top, right - left]
        if not aligned:
            sides = [max(side, 1.0) for side in sides]
        bins = [side / count for side, count in zip(sides, size, strict=True)]
        grid = [points or max(int(np.ceil(each)), 1) for each in bins]
        for channel, i, j in np.ndindex(means.shape[1:]):
            values = [
                bilinear(
                    maps[int(image), channel],
                    top + bins[0] * (i + (a + 0.5) / grid[0]),
                    left + bins[1] * (j + (b + 0.5) / grid[1]),
                )
                for a, b in np.ndindex(*grid)
            ]
            means[number, channel, i, j] = np.mean(values)
    return means


ROIS = np.array([[0, 1, 2, 21, 17], [1, 0, 0, 9.5, 30], [0, -6, -4, 12, 9], [1, 20, 3, 40, 44], [0, 7, 7, 7.3, 9]])
"""Image, left, top, right, bottom of regions; some reach beyond the image, one is thinner than a pixel."""


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("points", [0, 2])
def test_roi_align_is_its_definition(points: int, aligned: bool) -> None:
    """mmcv's RoIAlign gives the values of the definition, with maps at half the resolution."""
    from mmcv.ops import roi_align

    maps = np.random.default_rng(0).normal(size=(2, 3, 11, 13))
    with shapes.nothing_missing():
        aligned_maps = roi_align(torch.from_numpy(maps), torch.from_numpy(ROIS), (2, 3), 0.5, points, "avg", aligned)
    expected = roi_align_by_hand(maps, ROIS, (2, 3), 0.5, points, aligned)
    assert aligned_maps.numpy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_gradient_of_roi_align(aligned: bool) -> None:
    """The gradient is that of finite differences, also for a gradient that is not contiguous."""
    from mmcv.ops import roi_align

    maps = torch.randn(2, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1, 2, 9, 11], [1, 0, 3, 6, 8.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: roi_align(m, rois, (2, 3), 0.5, 0, "avg", aligned), maps)
    assert torch.autograd.gradcheck(
        lambda m: roi_align(m, rois, (2, 3), 0.5, 2, "avg", aligned).transpose(2, 3).contiguous(), maps
    )


def test_roi_align_has_no_max_pooling() -> None:
    """Max pooling is a MissingError."""
    from mmcv.ops import roi_align

    maps = torch.zeros(1, 1, 4, 4)
    with pytest.raises(MissingError, match="no compiled RoIAlign with max pooling"):
        roi_align(maps, torch.tensor([[0, 0, 0, 2, 2.0]]), (2, 2), 1.0, 0, "max", True)


BOX = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2)


@settings(max_examples=150, deadline=None)
@given(st.lists(BOX, min_size=1, max_size=12), st.sampled_from([0, 1]), st.sampled_from([0.25, 0.5, 0.75]), st.data())
def test_nms_is_a_loop(boxes: list[tuple[int, ...]], offset: int, threshold: float, data: st.DataObject) -> None:
    """A box is kept if it overlaps no kept box of higher score by more than the threshold, in exact fractions."""
    from mmcv.ops import nms

    order = data.draw(st.permutations(range(len(boxes))))
    corners = [(x, y, x + width, y + height) for x, y, width, height in boxes]

    def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> Fraction:
        wide = min(a[2], b[2]) - max(a[0], b[0]) + offset
        high = min(a[3], b[3]) - max(a[1], b[1]) + offset
        both = max(0, wide) * max(0, high)
        areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
        return Fraction(both, sum(areas) - both)

    expected: list[int] = []
    for index in order:
        if all(overlap(corners[index], corners[kept]) <= threshold for kept in expected):
            expected.append(index)
    scores = torch.empty(len(boxes))
    scores[list(order)] = torch.linspace(0.9, 0.1, len(boxes))
    kept_boxes, kept = nms(torch.tensor(corners, dtype=torch.float32), scores, threshold, offset)
    assert kept.tolist() == expected
    assert kept_boxes[:, 4].tolist() == scores[kept].tolist()


def test_other_operators_can_be_imported_and_not_called() -> None:
    """mmcv imports every operator at once, and only a call of a missing one is an error."""
    from mmcv import _ext
    from mmcv.ops import sigmoid_focal_loss

    with pytest.raises(MissingError, match="no compiled operator 'sigmoid_focal_loss_forward'"):
        sigmoid_focal_loss(torch.zeros(2, 3), torch.tensor([0, 1]), 2.0, 0.25, None, "mean")
    assert callable(_ext.anything)
    assert not hasattr(_ext, "__path__")


@pytest.fixture
def no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove `mmcv._ext` from the imported modules for one test."""
    # it is set first, so that monkeypatch also removes what the test puts there
    monkeypatch.setitem(sys.modules, "mmcv._ext", types.ModuleType("mmcv._ext"))
    monkeypatch.delitem(sys.modules, "mmcv._ext")


def test_the_replacement_is_installed_where_there_is_no_extension(no_extension: None) -> None:
    """A first call installs the replacement, and a second call does nothing."""
    assert mmdet_ops.install_operators()
    assert sys.modules["mmcv._ext"].nms is mmdet_ops._Operators.nms  # type: ignore[attr-defined]
    assert not mmdet_ops.install_operators()


def test_a_compiled_extension_is_used(no_extension: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replacement is not installed where a compiled extension is on disk or imported already."""
    with monkeypatch.context() as patch:
        patch.setattr(mmdet_ops, "find_spec", lambda name: object())
        assert not mmdet_ops.install_operators()
    assert "mmcv._ext" not in sys.modules
    compiled = types.ModuleType("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", compiled)
    assert not mmdet_ops.install_operators()
    assert sys.modules["mmcv._ext"] is compiled


def one_line(error: pytest.ExceptionInfo[BobError]) -> str:
    """Return the message, which has to be one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_absent_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names all packages that are absent, and the extra that installs them."""
    monkeypatch.setattr(mmdet_ops, "find_spec", lambda name: None if name in ("mmdet", "mmcv") else object())
    with pytest.raises(MissingError) as error:
        prepare()
    assert one_line(error) == f"detection needs mmcv, mmdet: {EXTRA}"


def test_an_mmdet_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says why the import failed, and what to install."""
    monkeypatch.setitem(sys.modules, "mmdet.models", None)
    with pytest.raises(MissingError) as error:
        prepare()
    assert one_line(error).startswith("mmdet cannot be imported (import of mmdet.models halted")
    assert one_line(error).endswith(EXTRA)


def test_an_mmdet_that_refuses_its_mmcv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of mmdet's assertion about the version is in the message."""

    def refusing() -> Any:
        raise AssertionError("MMCV==2.3.6 is used but incompatible.\nPlease install mmcv>=2.0.0rc4, <2.2.0.")

    class Finder:
        """Intercepts the import of mmdet.models."""

        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            """Fail for mmdet.models; other modules are found elsewhere."""
            return refusing() if name == "mmdet.models" else None

    monkeypatch.delitem(sys.modules, "mmdet.models")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(MissingError) as error:
        prepare()
    assert one_line(error) == f"mmdet cannot be imported (MMCV==2.3.6 is used but incompatible.): {EXTRA}"


def test_an_mmdet_that_was_imported_too_early(no_extension: None) -> None:
    """The message says to call prepare() first, and nothing is installed."""
    with pytest.raises(BobError, match=r"mmdet was imported before.*call bob_gauntlet.*prepare\(\) before") as error:
        prepare()
    one_line(error)
    assert "mmcv._ext" not in sys.modules


def test_two_packages_under_one_import_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names both packages and the command that repairs the installation."""
    asked: list[str] = []
    monkeypatch.setattr(mmdet_ops, "_is_installed", lambda name: bool(asked.append(name) or True))
    with pytest.raises(BobError, match=r"mmengine and onedl-mmengine are both installed.*pip uninstall") as error:
        prepare()
    one_line(error)
    assert set(asked) == {"mmengine", "onedl-mmengine"}


def test_what_is_installed() -> None:
    """`_is_installed` looks for the name of a distribution."""
    assert mmdet_ops._is_installed("torch")
    assert not mmdet_ops._is_installed("no-such-thing")


def test_warnings_of_mmdet_alone_are_not_shown() -> None:
    """Warnings of other modules are shown, and afterwards those of mmdet too."""
    with mmdet_ops.without_mmdet_warnings():
        for module in ("mmdet.models", "mmcv", "mmengine.config"):
            warnings.warn_explicit("of mmdet", UserWarning, "f.py", 1, module=module)
        with pytest.raises(UserWarning, match="of another module"):
            warnings.warn_explicit("of another module", UserWarning, "f.py", 1, module="bob_gauntlet.mmdet")
    with pytest.raises(UserWarning, match="of mmdet"):
        warnings.warn_explicit("of mmdet", UserWarning, "f.py", 1, module="mmdet.models")
