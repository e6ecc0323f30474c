"""MMDetection without a compiler: the two compiled operators that Cascade Mask R-CNN calls, from torchvision.

mmcv looks for them in its extension `mmcv._ext`, which its wheels for today's torch do not have.
"""

import logging
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from sys import modules
from typing import Any

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)

from bob_gauntlet.errors import BobError, MissingError

_INSTALL = 'pip install "bob-gauntlet[detection]"'


@cache
def prepare() -> None:
    """Make mmdet importable and quiet; once, before anything imports it.

    Raises MissingError where a package of the extra is absent, BobError where two of them overwrite each other.
    """
    if all(map(_installed, ("mmengine", "onedl-mmengine"))):
        raise BobError(
            "mmengine and onedl-mmengine are both installed, under one import name: pip uninstall -y mmengine "
            "onedl-mmengine && pip install onedl-mmengine"
        )
    absent = [name for name in ("mmengine", "mmcv", "mmdet", "pycocotools", "faster_coco_eval") if not find_spec(name)]
    if absent:
        raise MissingError(f"detection needs {', '.join(absent)}: {_INSTALL}")
    if "mmdet.structures" in modules and not _compiled():
        raise BobError(
            "mmdet was imported before mmcv had its operators, and does without: call prepare() of "
            "bob_gauntlet.engine.detection.mmdet_ops first"
        )
    install_operators()
    try:
        with without_mmdet_warnings():
            import mmdet.models  # noqa: F401  (fills its registry)
            from mmengine.logging import MMLogger
    # mmdet asserts the versions of the others
    except (ImportError, AssertionError) as error:
        said = str(error).partition("\n")[0]
        raise MissingError(f"mmdet cannot be imported ({said}): {_INSTALL}") from error
    # it logs four lines a parameter
    MMLogger.get_current_instance().setLevel(logging.ERROR)


@contextmanager
def without_mmdet_warnings() -> Iterator[None]:
    """Inside, what mmdet and its own packages warn of, which no user can mend, is not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mm(det|cv|engine)\b")
        yield


def install_operators() -> bool:
    """Put the stand-in for `mmcv._ext` in place; False where a compiled one, or another, is there already."""
    if _compiled():
        return False
    module: Any = _Operators("mmcv._ext")
    module.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    modules["mmcv._ext"] = module
    return True


class _Operators(types.ModuleType):
    """nms and RoIAlign; every other operator can be imported, and says that it is absent when it is called."""

    nms = staticmethod(lambda boxes, scores, iou_threshold, offset: nms(boxes, scores, iou_threshold, offset))

    @staticmethod
    def roi_align_forward(
        maps: torch.Tensor, rois: torch.Tensor, output: torch.Tensor, *unused: torch.Tensor, **how: Any
    ) -> None:
        _average(how)
        output.copy_(
            torch.ops.torchvision.roi_align(
                maps, rois.to(maps.dtype), how["spatial_scale"], how["aligned_height"], how["aligned_width"],
                how["sampling_ratio"], how["aligned"],
            )
        )  # fmt: skip

    @staticmethod
    def roi_align_backward(
        gradient: torch.Tensor, rois: torch.Tensor, *unused_and_maps_gradient: torch.Tensor, **how: Any
    ) -> None:
        _average(how)
        into = unused_and_maps_gradient[-1]
        into.copy_(
            torch.ops.torchvision._roi_align_backward(
                gradient.contiguous(), rois.to(gradient.dtype), how["spatial_scale"], how["aligned_height"],
                how["aligned_width"], *into.shape, how["sampling_ratio"], how["aligned"],
            )
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: Any, **options: Any) -> None:
            raise MissingError(f"mmcv has no compiled operator {name!r} here; the detectors of this package need none")

        return absent


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int = 0) -> torch.Tensor:
    """Indices (K,) of the (N, 4) boxes that non-maximum suppression keeps, by falling score.

    With offset 1 a box is as many pixels wide as from its first to its last.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    kept: torch.Tensor = torch.ops.torchvision.nms(boxes, scores, float(iou_threshold))
    return kept


def _compiled() -> bool:
    return "mmcv._ext" in modules or find_spec("mmcv._ext") is not None


def _average(how: dict[str, Any]) -> None:
    if how["pool_mode"] != 1:
        raise MissingError("mmcv has no compiled RoIAlign that takes maxima here; averages are what detectors use")


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
