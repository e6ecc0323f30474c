"""MMDetection without a compiler: torchvision's versions of the two compiled operators that Cascade Mask R-CNN calls.

mmcv looks for them in its extension `mmcv._ext`, which is not in its wheels for recent versions of torch.
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
    """Make mmdet importable and quiet. Call it before anything imports mmdet; a second call does nothing.

    Raises MissingError where a package of the extra `detection` is absent, BobError where two installed packages
    overwrite each other, or where mmdet was imported before.
    """
    if all(map(_is_installed, ("mmengine", "onedl-mmengine"))):
        raise BobError(
            "mmengine and onedl-mmengine are both installed and overwrite each other's files; reinstall one of them: "
            "pip uninstall -y mmengine onedl-mmengine && pip install onedl-mmengine"
        )
    absent = [name for name in ("mmengine", "mmcv", "mmdet", "pycocotools", "faster_coco_eval") if not find_spec(name)]
    if absent:
        raise MissingError(f"detection needs {', '.join(absent)}: {_INSTALL}")
    if "mmdet.structures" in modules and not _has_compiled_operators():
        raise BobError(
            "mmdet was imported before mmcv got its operators, so that it does not use them; call "
            "bob_gauntlet.engine.detection.mmdet_ops.prepare() before you import mmdet"
        )
    install_operators()
    try:
        with without_mmdet_warnings():
            import mmdet.models  # noqa: F401  (it registers mmdet's models)
            from mmengine.logging import MMLogger
    # mmdet asserts the versions of mmcv and mmengine
    except (ImportError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingError(f"mmdet cannot be imported ({reason}): {_INSTALL}") from error
    # it logs four lines for each parameter
    MMLogger.get_current_instance().setLevel(logging.ERROR)


@contextmanager
def without_mmdet_warnings() -> Iterator[None]:
    """Hide the warnings of mmdet, mmcv and mmengine, which a user cannot act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mm(det|cv|engine)\b")
        yield


def install_operators() -> bool:
    """Install the replacement for `mmcv._ext`; return False where there is a compiled one or another one already."""
    if _has_compiled_operators():
        return False
    module: Any = _Operators("mmcv._ext")
    module.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    modules["mmcv._ext"] = module
    return True


class _Operators(types.ModuleType):
    """The module with nms and RoIAlign. Every other operator can be imported, and raises MissingError when called."""

    nms = staticmethod(lambda boxes, scores, iou_threshold, offset: nms(boxes, scores, iou_threshold, offset))

    @staticmethod
    def roi_align_forward(
        maps: torch.Tensor, rois: torch.Tensor, output: torch.Tensor, *unused: torch.Tensor, **options: Any
    ) -> None:
        _check_average_pooling(options)
        output.copy_(
            torch.ops.torchvision.roi_align(
                maps, rois.to(maps.dtype), options["spatial_scale"], options["aligned_height"],
                options["aligned_width"], options["sampling_ratio"], options["aligned"],
            )
        )  # fmt: skip

    @staticmethod
    def roi_align_backward(
        gradient: torch.Tensor, rois: torch.Tensor, *unused_and_maps_gradient: torch.Tensor, **options: Any
    ) -> None:
        _check_average_pooling(options)
        maps_gradient = unused_and_maps_gradient[-1]
        maps_gradient.copy_(
            torch.ops.torchvision._roi_align_backward(
                gradient.contiguous(), rois.to(gradient.dtype), options["spatial_scale"], options["aligned_height"],
                options["aligned_width"], *maps_gradient.shape, options["sampling_ratio"], options["aligned"],
            )
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: Any, **options: Any) -> None:
            raise MissingError(
                f"mmcv has no compiled operator {name!r} here; the detectors of this package do not need it"
            )

        return absent


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int = 0) -> torch.Tensor:
    """Return the indices (K,) of the (N, 4) boxes that non-maximum suppression keeps, from the highest score down.

    With `offset` 1 the right and bottom pixels are part of a box, so that it is one pixel wider and higher.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    kept: torch.Tensor = torch.ops.torchvision.nms(boxes, scores, float(iou_threshold))
    return kept


def _has_compiled_operators() -> bool:
    """Return whether `mmcv._ext` is installed or imported."""
    return "mmcv._ext" in modules or find_spec("mmcv._ext") is not None


def _check_average_pooling(options: dict[str, Any]) -> None:
    """Raise MissingError where RoIAlign is asked for max pooling, which torchvision's does not have."""
    if options["pool_mode"] != 1:
        raise MissingError('mmcv has no compiled RoIAlign with max pooling here; use pool_mode="avg"')


def _is_installed(name: str) -> bool:
    """Return whether the distribution is installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
