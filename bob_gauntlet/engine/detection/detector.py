"""Cascade Mask R-CNN on a copy of a backbone, which mmdet neither builds nor initialises."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from timm.layers import LayerNorm2d  # type: ignore[attr-defined]
from torch import nn
from torch.nn import functional

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import create_untrained, rebuild
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.detection import mmdet_ops
from bob_gauntlet.engine.detection.cascade import Heads, mmdet_config
from bob_gauntlet.engine.detection.data_loading import DetectionSample
from bob_gauntlet.engine.detection.necks import LastMap, LastMapPyramid, NormalisedMaps
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.training.trainable import Trainable
from bob_gauntlet.engine.transforms import normalise
from bob_gauntlet.errors import MissingError

Mode = Literal["frozen", "finetune", "scratch"]


@dataclass(frozen=True)
class Design:
    """A detector before it is built."""

    classes: int
    mode: Mode = "finetune"
    heads: Heads = field(default_factory=Heads)
    drop_path: float = 0.0
    # pixels are normalised as for ImageNet, whatever the backbone was trained with
    imagenet_pixels: bool = False
    # how a pyramid is made of a backbone that gives one map
    last_map: LastMap = "wide"


class Detector(Trainable):
    """Images and their objects to a loss, images to detections (He et al., ICCV 2017; Cai and Vasconcelos, CVPR 2018).

    The backbone is frozen, fine-tuned, or built anew from a seed (`scratch`). Its BatchNorm keeps the statistics that
    it came with while it is fine-tuned, since a few images at once have poor ones; untrained, it has none to keep.

    Raises MissingError where mmdet is absent, or the backbone gives no maps that a pyramid can stand on.
    """

    backbone_prefix = "model.backbone."

    def __init__(self, backbone: Backbone, design: Design, seed: int) -> None:
        mmdet_ops.prepare()
        strides = pyramid_strides(backbone)
        module, drop_path = _body(backbone, design, seed)
        super().__init__(
            Backbone(backbone.spec, module, backbone.identity, backbone.device), frozen=design.mode == "frozen"
        )
        self.drop_path = drop_path
        self.design = design
        self.transform = InputTransform(size=0) if design.imagenet_pixels else backbone.identity.transform
        self.keeps_statistics = design.mode == "finetune" and backbone.identity.traits.pretrained
        with seeded(seed):
            self.model = _build(self.backbone_copy, design, strides)
        # only now, or mmdet would have initialised it
        self.model.backbone = _Maps(self.backbone_copy, len(strides), frozen=self.frozen)
        self.to(backbone.device)

    def train(self, mode: bool = True) -> Self:
        """With the backbone's BatchNorm in evaluation mode where its statistics are kept."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.backbone_copy.module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """One group: as in the original, everything decays, and the backbone learns at the rate of the heads."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": weight_decay}]

    def loss(self, scenes: Sequence[DetectionSample]) -> torch.Tensor:
        """Of all heads, a mean over the images."""
        images, samples = self._inputs(scenes)
        # mmdet stops where no anchor lies inside an image: a strip counts padding until one of 8 steps does
        least = int(9 * self.model.rpn_head.prior_generator.strides[0][0])
        for sample in samples:
            sample.set_metainfo({"img_shape": tuple(max(side, least) for side in sample.img_shape)})
        losses: dict[str, Any] = self.model.loss(images, samples)
        total: torch.Tensor = self.model.parse_losses(losses)[0]
        return total

    @torch.no_grad()
    @mmdet_ops.without_mmdet_warnings()
    def detect(self, scenes: Sequence[DetectionSample], *, masks: bool = True) -> list[Any]:
        """mmdet's instances of each image, in pixels of the original; all scenes are padded to one size.

        They have `bboxes` (n, 4) left, top, right, bottom, `scores`, `labels`, and `masks` (n, H, W) bool where the
        detector has them and they are wanted.
        """
        images, samples = self._inputs(scenes)
        maps = self.model.extract_feat(images)
        proposals = self.model.rpn_head.predict(maps, samples, rescale=False)
        heads = self.model.roi_head
        if masks or not self.design.heads.masks:
            found: list[Any] = heads.predict(maps, proposals, samples, rescale=True)
        else:
            metas = [sample.metainfo for sample in samples]
            found = heads.predict_bbox(maps, metas, proposals, rcnn_test_cfg=heads.test_cfg, rescale=True)
        return found

    def _inputs(self, scenes: Sequence[DetectionSample]) -> tuple[torch.Tensor, list[Any]]:
        """Normalised images, with what is beyond them in the batch at their mean, and what mmdet asks of each."""
        device = self.backbone_copy.device
        height, width = (max(scene.padded[axis] for scene in scenes) for axis in (0, 1))
        images = []
        for scene in scenes:
            image = normalise(scene.image.to(device, non_blocking=True)[None], self.transform)
            images.append(functional.pad(image, (0, width - image.shape[3], 0, height - image.shape[2])))
        return torch.cat(images), [scene.to_mmdet((height, width), device) for scene in scenes]


class _Maps(nn.Module):
    """A backbone as mmdet calls it."""

    def __init__(self, copy: Backbone, count: int, *, frozen: bool) -> None:
        super().__init__()
        self.module, self._copy, self.count, self.frozen = copy.module, copy, count, frozen

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return tuple(self._copy.feature_maps(images)[-self.count :])


def pyramid_strides(backbone: Backbone) -> tuple[int, ...]:
    """Strides of the maps that a detector stands on: 4 and more, each twice the one before; or the only one.

    MissingError where the backbone has none.
    """
    found = tuple(stride for stride in backbone.identity.traits.strides if stride >= 4)
    if not found:
        raise MissingError(f"{backbone.name} gives no feature maps; detection needs them")
    if any(after != 2 * before for before, after in pairwise(found)):
        raise MissingError(f"{backbone.name} gives feature maps of strides {found}; a pyramid needs each twice another")
    return found


def _body(backbone: Backbone, design: Design, seed: int) -> tuple[nn.Module, float]:
    """The network that the detector stands on, taking images of any size, and its stochastic depth."""
    scratch = design.mode == "scratch"
    build = partial(create_untrained, replace(backbone.spec, seed=seed)) if scratch else partial(rebuild, backbone)
    drop = {"drop_path_rate": design.drop_path} if design.drop_path and design.mode != "frozen" else {}
    # windowed transformers take it, and then pad each map to whole windows
    sizes = {"strict_img_size": False}
    for wanted in (sizes | drop, drop, sizes, {}):
        module = build(**wanted)
        if module is not None:
            return module, wanted.get("drop_path_rate", 0.0)
    if scratch:
        raise MissingError(f"{backbone.name} is a factory's; only a timm network can be built anew, untrained")
    return deepcopy(backbone.module), 0.0


def _widths(copy: Backbone, strides: Sequence[int]) -> list[int]:
    """Channels of each map, found by asking for those of an image that is not square."""
    side = -(-32 // strides[-1]) * strides[-1]
    sides = (4 * side, 3 * side)
    try:
        with torch.no_grad():
            maps = copy.feature_maps(torch.zeros(1, 3, *sides, device=copy.device))[-len(strides) :]
    except (AssertionError, RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise MissingError(f"{copy.name} does not take images of any size ({said}); detection needs that") from error
    copy.images_forwarded = 0
    return [found.shape[1] for found in maps]


def _build(copy: Backbone, design: Design, strides: Sequence[int]) -> Any:
    """mmdet's detector without its backbone, its heads initialised as mmdet does it."""
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    heads, widths = design.heads, _widths(copy, strides)
    if len(strides) == 1:
        neck: nn.Module = LastMapPyramid(widths[0], heads.channels, design.last_map)
        levels = [strides[0] * scale for scale in (0.25, 0.5, 1, 2, 4)]
    else:
        pyramid = {"type": "FPN", "in_channels": widths, "out_channels": heads.channels, "num_outs": len(widths) + 1}
        levels = [float(stride) for stride in (*strides, 2 * strides[-1])]
    with DefaultScope.overwrite_default_scope("mmdet"):
        if len(strides) > 1:
            neck = MODELS.build(ConfigDict(pyramid))
        made = MODELS.build(ConfigDict(mmdet_config(heads, design.classes, levels)))
        made.neck = NormalisedMaps(widths, neck)
        if heads.proposal_convs > 1:
            made.rpn_head.rpn_conv = _normed(made.rpn_head.rpn_conv)
        made.init_weights()
    return made


def _normed(convolutions: nn.Module) -> nn.Module:
    """Those of the region proposals with layer norm, which mmdet has none for."""
    found: list[nn.Module] = []
    for block in convolutions.children():
        convolution: Any = block.conv
        found += [convolution, LayerNorm2d(convolution.out_channels), nn.ReLU()]
    return nn.Sequential(*found)
