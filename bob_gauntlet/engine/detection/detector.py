"""Cascade Mask R-CNN on a copy of a backbone. mmdet builds and initialises all of it but the backbone."""

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
from bob_gauntlet.errors import MissingError, NotFiniteError

Mode = Literal["frozen", "finetune", "scratch"]


@dataclass(frozen=True)
class Design:
    """The design of a detector: all that it is built from, except its backbone and seed."""

    classes: int
    mode: Mode = "finetune"
    heads: Heads = field(default_factory=Heads)
    # rate of stochastic depth in the backbone
    drop_path: float = 0.0
    # normalise pixels with ImageNet's mean and deviation instead of the backbone's own
    imagenet_pixels: bool = False
    # how a pyramid is made of a backbone with a single feature map
    last_map: LastMap = "wide"


class Detector(Trainable):
    """Cascade Mask R-CNN (He et al., ICCV 2017; Cai and Vasconcelos, CVPR 2018): its training loss and its detections.

    By `design.mode` the backbone is frozen, fine-tuned, or built untrained from the seed ("scratch"). The BatchNorm of
    a pretrained backbone keeps its statistics in fine-tuning, since statistics of a few images are poor. An untrained
    backbone has no statistics to keep.

    Raises MissingError where mmdet is absent, or where the backbone has no feature maps for a pyramid.
    """

    backbone_prefix = "model.backbone."

    def __init__(self, backbone: Backbone, design: Design, seed: int) -> None:
        mmdet_ops.prepare()
        strides = pyramid_strides(backbone)
        module, drop_path = _copy_network(backbone, design, seed)
        super().__init__(
            Backbone(backbone.spec, module, backbone.identity, backbone.device), frozen=design.mode == "frozen"
        )
        self.drop_path = drop_path
        self.design = design
        self.transform = InputTransform(size=0) if design.imagenet_pixels else backbone.identity.transform
        self.keeps_statistics = design.mode == "finetune" and backbone.identity.traits.pretrained
        with seeded(seed):
            self.model = _build_model(self.backbone_copy, design, strides)
        # after mmdet has initialised the model, so that the backbone keeps its weights
        self.model.backbone = _FeatureMaps(self.backbone_copy, len(strides), frozen=self.frozen)
        roi_head = self.model.roi_head
        for head in (self.model.rpn_head, *roi_head.bbox_head, *(roi_head.mask_head if design.heads.masks else ())):
            head.register_forward_hook(_require_finite_outputs)
        self.to(backbone.device)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules; BatchNorm that keeps its statistics stays in evaluation mode."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.backbone_copy.module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """Return one group of all parameters that are trained.

        As in the paper's code, weight decay includes biases and norms, and the backbone has the learning rate of the
        heads.
        """
        return [{"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": weight_decay}]

    def loss(self, samples: Sequence[DetectionSample]) -> torch.Tensor:
        """Return the sum of the losses of all heads, averaged over the images."""
        images, mmdet_samples = self._inputs(samples)
        # mmdet fails where no anchor lies inside an image; so the sides of a very narrow image are counted with padding
        # until the smallest anchors, whose sides are 8 steps of the finest map, lie inside
        least = int(9 * self.model.rpn_head.prior_generator.strides[0][0])
        for sample in mmdet_samples:
            sample.set_metainfo({"img_shape": tuple(max(side, least) for side in sample.img_shape)})
        losses: dict[str, Any] = self.model.loss(images, mmdet_samples)
        total: torch.Tensor = self.model.parse_losses(losses)[0]
        return total

    @torch.no_grad()
    @mmdet_ops.without_mmdet_warnings()
    def detect(self, samples: Sequence[DetectionSample], *, masks: bool = True) -> list[Any]:
        """Return mmdet's instances of each image, in pixels of the original image.

        They have `bboxes` (n, 4) left, top, right, bottom, `scores`, `labels`, and `masks` (n, H, W) bool where
        `masks` is true and the detector has mask heads. All images are padded to one size. Raises NotFiniteError where
        a head gives NaN or infinity, which mmdet would leave out of its detections without a word.
        """
        images, mmdet_samples = self._inputs(samples)
        maps = self.model.extract_feat(images)
        proposals = self.model.rpn_head.predict(maps, mmdet_samples, rescale=False)
        heads = self.model.roi_head
        if masks or not self.design.heads.masks:
            instances: list[Any] = heads.predict(maps, proposals, mmdet_samples, rescale=True)
        else:
            metas = [sample.metainfo for sample in mmdet_samples]
            instances = heads.predict_bbox(maps, metas, proposals, rcnn_test_cfg=heads.test_cfg, rescale=True)
        return instances

    def _inputs(self, samples: Sequence[DetectionSample]) -> tuple[torch.Tensor, list[Any]]:
        """Return the normalised images, padded with zeros (the mean colour) to one size, and mmdet's samples."""
        device = self.backbone_copy.device
        height, width = (max(sample.padded[axis] for sample in samples) for axis in (0, 1))
        images = []
        for sample in samples:
            image = normalise(sample.image.to(device, non_blocking=True)[None], self.transform)
            images.append(functional.pad(image, (0, width - image.shape[3], 0, height - image.shape[2])))
        return torch.cat(images), [sample.to_mmdet((height, width), device) for sample in samples]


def _require_finite_outputs(head: nn.Module, inputs: Any, outputs: Any) -> None:
    """Raise NotFiniteError where a head in evaluation mode gives NaN or infinity; in training the loss shows it."""
    if not isinstance(outputs, torch.Tensor):
        for output in outputs:
            _require_finite_outputs(head, inputs, output)
    elif not head.training and not outputs.isfinite().all():
        raise NotFiniteError("boxes, scores or masks are NaN or infinite")


class _FeatureMaps(nn.Module):
    """A backbone as mmdet calls it: images to the last `count` feature maps."""

    def __init__(self, copy: Backbone, count: int, *, frozen: bool) -> None:
        super().__init__()
        self.module, self._copy, self.count, self.frozen = copy.module, copy, count, frozen

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return tuple(self._copy.feature_maps(images)[-self.count :])


def pyramid_strides(backbone: Backbone) -> tuple[int, ...]:
    """Return the strides of the backbone's feature maps that a detector uses: those from 4 on.

    Raises MissingError where there is none, or where a stride is not twice the one before.
    """
    strides = tuple(stride for stride in backbone.identity.traits.strides if stride >= 4)
    if not strides:
        raise MissingError(f"{backbone.name} gives no feature maps; detection needs them")
    if any(after != 2 * before for before, after in pairwise(strides)):
        raise MissingError(
            f"{backbone.name} gives feature maps of strides {strides}; a feature pyramid needs each stride to be twice "
            "the one before"
        )
    return strides


def _copy_network(backbone: Backbone, design: Design, seed: int) -> tuple[nn.Module, float]:
    """Return a network for the detector that takes images of any size, and its rate of stochastic depth.

    It is a copy of the backbone, or with mode "scratch" an untrained network of the same architecture.
    """
    scratch = design.mode == "scratch"
    build = partial(create_untrained, replace(backbone.spec, seed=seed)) if scratch else partial(rebuild, backbone)
    drop = {"drop_path_rate": design.drop_path} if design.drop_path and design.mode != "frozen" else {}
    # windowed transformers have this argument; with it they pad each map to whole windows
    sizes = {"strict_img_size": False}
    for arguments in (sizes | drop, drop, sizes, {}):
        module = build(**arguments)
        if module is not None:
            return module, arguments.get("drop_path_rate", 0.0)
    if scratch:
        raise MissingError(
            f"{backbone.name} comes from a factory; only a timm network can be built untrained for detection-scratch"
        )
    return deepcopy(backbone.module), 0.0


def _widths(copy: Backbone, strides: Sequence[int]) -> list[int]:
    """Return the channels of each map, from those of an image that is not square.

    Raises MissingError where the network does not take such an image.
    """
    side = -(-32 // strides[-1]) * strides[-1]
    sides = (4 * side, 3 * side)
    try:
        with torch.no_grad():
            maps = copy.feature_maps(torch.zeros(1, 3, *sides, device=copy.device))[-len(strides) :]
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingError(f"{copy.name} does not take images of any size ({reason}); detection needs that") from error
    return [level.shape[1] for level in maps]


def _build_model(copy: Backbone, design: Design, strides: Sequence[int]) -> Any:
    """Return mmdet's detector without its backbone, initialised by mmdet."""
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
        model = MODELS.build(ConfigDict(mmdet_config(heads, design.classes, levels)))
        model.neck = NormalisedMaps(widths, neck)
        if heads.proposal_convs > 1:
            model.rpn_head.rpn_conv = _add_layer_norms(model.rpn_head.rpn_conv)
        model.init_weights()
    return model


def _add_layer_norms(convolutions: nn.Module) -> nn.Module:
    """Return the region proposal network's convolutions with layer norm, which mmdet has no option for."""
    modules: list[nn.Module] = []
    for block in convolutions.children():
        convolution: Any = block.conv
        modules += [convolution, LayerNorm2d(convolution.out_channels), nn.ReLU()]
    return nn.Sequential(*modules)
