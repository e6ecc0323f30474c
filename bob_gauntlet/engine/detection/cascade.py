"""Cascade Mask R-CNN as a configuration of MMDetection: the paper's heads, and thinner ones of the same shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from timm.layers import LayerNorm2d  # type: ignore[attr-defined]
from torch import nn

STAGES = (
    (0.5, 1.0, (0.1, 0.1, 0.2, 0.2)),
    (0.6, 0.5, (0.05, 0.05, 0.1, 0.1)),
    (0.7, 0.25, (0.033, 0.033, 0.067, 0.067)),
)
"""The three stages of the cascade (Cai and Vasconcelos, CVPR 2018).

Of each: the overlap from which a box is matched with an object, the weight of its loss, the scale of the box offsets.
"""


@dataclass(frozen=True)
class Heads:
    """The heads on the feature pyramid. The defaults are those of the paper's COCO configurations, in its code."""

    # False: Cascade R-CNN, which detects boxes only
    masks: bool = True
    # channels of the pyramid and of every convolution in the heads
    channels: int = 256
    # convolutions of the region proposal network, of each box head and of the mask head
    proposal_convs: int = 1
    box_convs: int = 4
    mask_convs: int = 4
    # width of the linear layer in each box head
    linear: int = 1024
    # layer norm, or batch norm over the regions of all images
    norm: Literal["layer", "batch"] = "layer"
    box_loss: Literal["giou", "smooth-l1"] = "giou"
    # anchors and regions of an image that are sampled for the training losses
    anchors: int = 256
    regions: int = 512
    # region proposals of an image, in training and in tests
    proposals: tuple[int, int] = (2000, 1000)
    # points per side that RoIAlign samples in each bin of a region; 0 for as many as the bin has pixels
    samples: int = 0
    # detections of an image at most, and their least score
    detections: int = 100
    least_score: float = 0.05


def mmdet_config(heads: Heads, classes: int, strides: Sequence[float]) -> dict[str, Any]:
    """Return mmdet's configuration of the detector, with an empty module as its backbone and without a neck.

    `strides` are those of the feature maps that the neck returns. Regions are proposed on all maps; their features are
    read from all but the last.
    """
    return {
        "type": "CascadeRCNN",
        "backbone": {"type": nn.Identity},
        "rpn_head": _rpn_head(heads, strides),
        "roi_head": _roi_head(heads, classes, strides),
        "train_cfg": {
            "rpn": _assigner_and_sampler(0.7, 0.3, heads.anchors, 0.5, learn_all=True) | {"allowed_border": 0},
            "rpn_proposal": _proposal_selection(heads.proposals[0]),
            "rcnn": [
                _assigner_and_sampler(overlap, overlap, heads.regions, 0.25) | {"mask_size": 28}
                for overlap, _, _ in STAGES
            ],
        },
        "test_cfg": {
            "rpn": _proposal_selection(heads.proposals[1]),
            "rcnn": {
                "score_thr": heads.least_score,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": heads.detections,
                "mask_thr_binary": 0.5,
            },
        },
    }


def _rpn_head(heads: Heads, strides: Sequence[float]) -> dict[str, Any]:
    """Return the configuration of the region proposal network."""
    return {
        "type": "RPNHead",
        "in_channels": heads.channels,
        "feat_channels": heads.channels,
        "num_convs": heads.proposal_convs,
        "anchor_generator": {
            "type": "AnchorGenerator", "scales": [8], "ratios": [0.5, 1.0, 2.0], "strides": list(strides),
        },
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder"},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True},
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 1 / 9},
    }  # fmt: skip


def _roi_head(heads: Heads, classes: int, strides: Sequence[float]) -> dict[str, Any]:
    """Return the configuration of the box heads of all stages, and of the mask head."""

    def extractor(size: int) -> dict[str, Any]:
        return {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": size, "sampling_ratio": heads.samples},
            "out_channels": heads.channels,
            "featmap_strides": list(strides[:-1]),
            # a region is read from the next coarser map each time its side doubles: with strides 4 to 32, from the
            # coarsest map from 112 steps of the finest one (448 px) on
            "finest_scale": 14 * strides[0],
        }

    config = {
        "type": "CascadeRoIHead",
        "num_stages": len(STAGES),
        "stage_loss_weights": [weight for _, weight, _ in STAGES],
        "bbox_roi_extractor": extractor(7),
        "bbox_head": [_box_head(heads, classes, scale) for _, _, scale in STAGES],
    }
    if heads.masks:
        config["mask_roi_extractor"] = extractor(14)
        config["mask_head"] = {
            "type": "FCNMaskHead",
            "num_convs": heads.mask_convs,
            "in_channels": heads.channels,
            "conv_out_channels": heads.channels,
            "num_classes": classes,
            "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True},
        }
    return config


def _box_head(heads: Heads, classes: int, scale: tuple[float, ...]) -> dict[str, Any]:
    """Return the configuration of one stage's box head, whose box offsets have that scale."""
    losses: dict[str, Any] = {
        "giou": {"type": "GIoULoss", "loss_weight": 10.0},
        "smooth-l1": {"type": "SmoothL1Loss", "beta": 1.0},
    }
    norms: dict[str, Any] = {"layer": {"type": LayerNorm2d, "eps": 1e-6}, "batch": {"type": "BN"}}
    return {
        "type": "ConvFCBBoxHead",
        "num_shared_convs": heads.box_convs,
        "num_shared_fcs": 1,
        "in_channels": heads.channels,
        "conv_out_channels": heads.channels,
        "fc_out_channels": heads.linear,
        "num_classes": classes,
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_stds": list(scale)},
        "reg_class_agnostic": True,
        # GIoU is a loss of boxes, smooth L1 a loss of box offsets
        "reg_decoded_bbox": heads.box_loss == "giou",
        "norm_cfg": norms[heads.norm],
        "loss_cls": {"type": "CrossEntropyLoss"},
        "loss_bbox": losses[heads.box_loss],
    }


def _assigner_and_sampler(
    high: float, low: float, sampled: int, positive: float, *, learn_all: bool = False
) -> dict[str, Any]:
    """Return how boxes are matched with objects, and how many of an image are sampled for the loss.

    A box is positive from the overlap `high` on and negative below `low`. `sampled` boxes are drawn, of which at most
    the share `positive` is positive. With `learn_all` each object is also matched with the box that overlaps it most,
    from the overlap `low` on; without it, the true boxes are added to those that are sampled from.
    """
    return {
        "assigner": {
            "type": "MaxIoUAssigner",
            "pos_iou_thr": high,
            "neg_iou_thr": low,
            "min_pos_iou": low if learn_all else high,
            "match_low_quality": learn_all,
        },
        "sampler": {
            "type": "RandomSampler", "num": sampled, "pos_fraction": positive, "add_gt_as_proposals": not learn_all,
        },
        "pos_weight": -1,
        "debug": False,
    }  # fmt: skip


def _proposal_selection(most: int) -> dict[str, Any]:
    """Return how at most that many region proposals of an image are selected, by non-maximum suppression."""
    return {
        "nms_pre": most, "max_per_img": most, "nms": {"type": "nms", "iou_threshold": 0.7}, "min_bbox_size": 0,
    }  # fmt: skip
