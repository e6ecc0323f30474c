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
"""Overlap that makes a box an object's, weight of the loss, scale of the offsets (Cai and Vasconcelos, CVPR 2018)."""


@dataclass(frozen=True)
class Heads:
    """What stands on the pyramid; the defaults are the paper's for COCO (its configurations, PROTOCOLS 1.7)."""

    # without masks it is Cascade R-CNN
    masks: bool = True
    # of the pyramid and of every convolution in the heads
    channels: int = 256
    # convolutions of the region proposals, of each box head and of the mask head; width of the boxes' linear layer
    proposal_convs: int = 1
    box_convs: int = 4
    mask_convs: int = 4
    linear: int = 1024
    # layer norm, or batch norm over the regions of all images
    norm: Literal["layer", "batch"] = "layer"
    box_loss: Literal["giou", "smooth-l1"] = "giou"
    # anchors and regions that a training image's losses see, and proposals of an image, in training and in tests
    anchors: int = 256
    regions: int = 512
    proposals: tuple[int, int] = (2000, 1000)
    # points a side at which RoIAlign reads each of a region's parts; 0 for as many as the region has pixels there
    samples: int = 0
    # detections of an image, at least that sure
    detections: int = 100
    least_score: float = 0.05


def mmdet_config(heads: Heads, classes: int, strides: Sequence[float]) -> dict[str, Any]:
    """mmdet's configuration of the detector, with an empty module in the place of its backbone, and without a neck.

    `strides` are those of the maps that the neck gives: boxes are found on all, and described on all but the last.
    """
    return {
        "type": "CascadeRCNN",
        "backbone": {"type": nn.Identity},
        "rpn_head": _proposals(heads, strides),
        "roi_head": _regions(heads, classes, strides),
        "train_cfg": {
            "rpn": _matching(0.7, 0.3, heads.anchors, 0.5, learn_all=True) | {"allowed_border": 0},
            "rpn_proposal": _suppression(heads.proposals[0]),
            "rcnn": [_matching(overlap, overlap, heads.regions, 0.25) | {"mask_size": 28} for overlap, _, _ in STAGES],
        },
        "test_cfg": {
            "rpn": _suppression(heads.proposals[1]),
            "rcnn": {
                "score_thr": heads.least_score,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": heads.detections,
                "mask_thr_binary": 0.5,
            },
        },
    }


def _proposals(heads: Heads, strides: Sequence[float]) -> dict[str, Any]:
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


def _regions(heads: Heads, classes: int, strides: Sequence[float]) -> dict[str, Any]:
    def extractor(size: int) -> dict[str, Any]:
        return {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": size, "sampling_ratio": heads.samples},
            "out_channels": heads.channels,
            "featmap_strides": list(strides[:-1]),
            # a region of 112 of the finest map's steps, or 448 px on strides 4 to 32, is the coarsest map's
            "finest_scale": 14 * strides[0],
        }

    found = {
        "type": "CascadeRoIHead",
        "num_stages": len(STAGES),
        "stage_loss_weights": [weight for _, weight, _ in STAGES],
        "bbox_roi_extractor": extractor(7),
        "bbox_head": [_boxes(heads, classes, scale) for _, _, scale in STAGES],
    }
    if heads.masks:
        found["mask_roi_extractor"] = extractor(14)
        found["mask_head"] = {
            "type": "FCNMaskHead",
            "num_convs": heads.mask_convs,
            "in_channels": heads.channels,
            "conv_out_channels": heads.channels,
            "num_classes": classes,
            "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True},
        }
    return found


def _boxes(heads: Heads, classes: int, scale: tuple[float, ...]) -> dict[str, Any]:
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
        # GIoU compares boxes, smooth L1 their offsets
        "reg_decoded_bbox": heads.box_loss == "giou",
        "norm_cfg": norms[heads.norm],
        "loss_cls": {"type": "CrossEntropyLoss"},
        "loss_bbox": losses[heads.box_loss],
    }


def _matching(high: float, low: float, sampled: int, positive: float, *, learn_all: bool = False) -> dict[str, Any]:
    """Which boxes are an object's, and how many an image's loss sees; `learn_all` gives each object its best."""
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


def _suppression(most: int) -> dict[str, Any]:
    return {
        "nms_pre": most, "max_per_img": most, "nms": {"type": "nms", "iou_threshold": 0.7}, "min_bbox_size": 0,
    }  # fmt: skip
