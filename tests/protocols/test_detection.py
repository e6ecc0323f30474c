"""Detection end to end on tiny scenes: heads, grid, metrics and error messages."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.engine.detection.cascade import mmdet_config
from bob_gauntlet.engine.detection.detector import Detector
from bob_gauntlet.engine.detection.resizing import Scaling
from bob_gauntlet.engine.detection.trained_detector import TrainedDetector
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.metrics.detection import average_precision, federated_average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.protocols.detection import MAX_VALIDATION_IMAGES, Detection, OODDetection
from bob_gauntlet.protocols.recipe import Measured, at_scale, canonical, with_fidelity
from tests.helpers import shapes
from tests.helpers.calls import fail_if_called
from tests.helpers.contexts import context_in

THIN = Detection(
    epochs=2, drops=(1,), warmup_steps=2, batch=4, micro_batch=4, lrs=(1e-3,), augmentation="as tests", short_side=64,
    long_side=96, channels=8, linear=16, regions=8, anchors=16, proposals=(20, 10), detections=5,
)  # fmt: skip
BOXES = replace(THIN, masks=False)
NAMES = [f"{metric}_{kind}" for kind in ("box", "mask") for metric in ("ap", "ap50", "ap75")]


def measure(
    recipe: Any, folder: Path, dataset: Dataset | None = None, backbone: Backbone | None = None, **options: Any
) -> dict[str, Measured]:
    """Return metric -> what was measured, by default on the tiny scenes."""
    measured = recipe.evaluate(
        backbone or shapes.backbone(), dataset or shapes.dataset(), context_in(folder, **options)
    )
    return {each.metric: each for each in measured}


def thin_detector(kind: str, **changes: Any) -> Detector:
    """Return the recipe's detector on a backbone, with fewer channels."""
    recipe = replace(Detection(channels=16, linear=32, anchors=16, regions=8), **changes)
    return Detector(shapes.backbone(kind), recipe._detector_config(shapes.backbone(kind), 2).design, 0)


def parameter_shapes(detector: Detector) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the heads, by name."""
    return {
        name: tuple(parameter.shape)
        for name, parameter in detector.model.named_parameters()
        if name.startswith(("rpn_head", "roi_head"))
    }


def test_every_backbone_has_the_same_heads() -> None:
    """With fidelity "sound", each box head has four convolutions with layer norm, a linear layer and GIoU loss."""
    detector_configs = {kind: Detection()._detector_config(shapes.backbone(kind), 2) for kind in shapes.KINDS}
    assert len({detector_config.design for detector_config in detector_configs.values()}) == 1
    config = detector_configs["resnet"].design.heads
    assert (config.norm, config.box_loss, config.proposal_convs) == ("layer", "giou", 1)
    assert (config.box_convs, config.mask_convs) == (4, 4)
    assert (config.channels, config.linear, config.anchors, config.regions) == (256, 1024, 256, 512)
    assert config.proposals == (2000, 1000)
    detectors = {kind: thin_detector(kind) for kind in ("resnet", "swin", "vit 16", "vit 14")}
    assert len({tuple(parameter_shapes(detector).items()) for detector in detectors.values()}) == 1
    for detector in detectors.values():
        [*boxes] = detector.model.roi_head.bbox_head
        assert [type(m).__name__ for m in boxes[0].modules()].count("LayerNorm2d") == 4
        assert {type(head.loss_bbox).__name__ for head in boxes} == {"GIoULoss"}
        assert {head.loss_bbox.loss_weight for head in boxes} == {10.0}
        assert all(head.reg_decoded_bbox and head.reg_class_agnostic for head in boxes)
        assert isinstance(detector.model.rpn_head.rpn_conv, nn.Conv2d)


def test_the_papers_heads_differ() -> None:
    """With fidelity "paper", one stride means layer norm, smooth L1 and two convolutions before the proposals."""
    several, one = (thin_detector(kind, fidelity="paper") for kind in ("resnet", "vit 16"))
    expected = (several, "BatchNorm2d", "GIoULoss", True), (one, "LayerNorm2d", "SmoothL1Loss", False)
    for detector, norm, loss, decoded in expected:
        [*boxes] = detector.model.roi_head.bbox_head
        names = [type(m).__name__ for m in boxes[0].modules()]
        assert names.count(norm) == 4
        assert names.count("LayerNorm2d") + names.count("BatchNorm2d") == 4
        assert {type(head.loss_bbox).__name__ for head in boxes} == {loss}
        assert {head.reg_decoded_bbox for head in boxes} == {decoded}
        assert detector.design.imagenet_pixels
        assert detector.transform.mean == (0.485, 0.456, 0.406)
    assert isinstance(several.model.rpn_head.rpn_conv, nn.Conv2d)
    two = [type(m).__name__ for m in one.model.rpn_head.rpn_conv]
    assert two == ["Conv2d", "LayerNorm2d", "ReLU"] * 2
    assert not Detection()._detector_config(shapes.backbone(), 2).design.imagenet_pixels


def test_the_cascade_is_the_papers() -> None:
    """Stages have IoU 0.5, 0.6, 0.7 and loss weights 1, 1/2, 1/4 (Cai and Vasconcelos, CVPR 2018)."""
    config = mmdet_config(Detection()._detector_config(shapes.backbone(), 2).design.heads, 2, (4, 8, 16, 32, 64))
    stages = config["train_cfg"]["rcnn"]
    assert [each["assigner"]["pos_iou_thr"] for each in stages] == [0.5, 0.6, 0.7]
    assert [each["assigner"]["neg_iou_thr"] for each in stages] == [0.5, 0.6, 0.7]
    assert [each["sampler"]["num"] for each in stages] == [512] * 3
    assert {each["sampler"]["pos_fraction"] for each in stages} == {0.25}
    assert all(each["sampler"]["add_gt_as_proposals"] for each in stages)
    region = config["roi_head"]
    assert (region["num_stages"], region["stage_loss_weights"]) == (3, [1.0, 0.5, 0.25])
    deviations = [each["bbox_coder"]["target_stds"] for each in region["bbox_head"]]
    assert deviations == [[0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067]]
    # a region of up to 112 px is read from the map of stride 4, as in FPN
    assert region["bbox_roi_extractor"]["finest_scale"] == 56
    assert region["mask_roi_extractor"]["roi_layer"]["output_size"] == 14
    proposals = config["train_cfg"]["rpn"]
    assert (proposals["assigner"]["pos_iou_thr"], proposals["assigner"]["neg_iou_thr"]) == (0.7, 0.3)
    assert (proposals["assigner"]["min_pos_iou"], proposals["assigner"]["match_low_quality"]) == (0.3, True)
    assert (proposals["sampler"]["num"], proposals["sampler"]["pos_fraction"]) == (256, 0.5)
    assert config["train_cfg"]["rpn_proposal"]["max_per_img"] == 2000
    tests = config["test_cfg"]
    assert (tests["rpn"]["max_per_img"], tests["rpn"]["nms"]["iou_threshold"]) == (1000, 0.7)
    assert (tests["rcnn"]["score_thr"], tests["rcnn"]["max_per_img"]) == (0.05, 100)
    assert tests["rcnn"]["nms"] == {"type": "nms", "iou_threshold": 0.5}
    assert config["rpn_head"]["anchor_generator"]["scales"] == [8]
    assert config["rpn_head"]["anchor_generator"]["ratios"] == [0.5, 1.0, 2.0]


def test_how_images_are_shown() -> None:
    """Images get DETR's sizes, or jitter for one stride, and are padded to multiples of the last stride and 32."""
    recipe = Detection()
    assert recipe._scaling((4, 8, 16, 32)) == Scaling(800, 1333, "multi-scale", 32)
    assert recipe._scaling((4, 8, 16, 32, 64)) == Scaling(800, 1333, "multi-scale", 64)
    assert recipe._scaling((16,)) == Scaling(1024, 1024, "jitter", 32)
    assert recipe._scaling((14,)) == Scaling(1024, 1024, "jitter", 42)
    assert replace(recipe, augmentation="as tests")._scaling((16,)) == Scaling(800, 1333, "as tests", 32)
    jitter = replace(recipe, augmentation="jitter", jitter_side=640, jitter_short=480)
    assert jitter._scaling((4, 8)) == Scaling(480, 640, "jitter", 32)


def test_every_field_comes_to_the_trainer() -> None:
    """Every field of the recipe is passed on, for the defaults and for a recipe in which all differ."""
    detector_config = Detection()._detector_config(shapes.backbone(), 7)
    assert [config.lr for config in detector_config.configs] == [8e-5, 1e-4, 2e-4, 3e-4]
    assert [config.warmup_lr for config in detector_config.configs] == pytest.approx([8e-8, 1e-7, 2e-7, 3e-7])
    config = detector_config.configs[0]
    assert (config.optimiser, config.weight_decay, config.epochs, config.drops) == ("adamw", 0.05, 36, (27, 33))
    assert (config.warmup_steps, config.per_step, config.micro_batch, config.clip, config.amp) == (
        1000,
        True,
        2,
        None,
        True,
    )
    assert (config.best_epoch, config.curve) == (False, 0)
    assert (
        detector_config.batch,
        detector_config.rare_below,
        detector_config.design.drop_path,
        detector_config.design.classes,
    ) == (16, 0.0, 0.1, 7)
    other = Detection(
        mode="scratch", masks=False, epochs=5, drops=(3,), warmup_steps=7, batch=6, micro_batch=3, lrs=(1e-5,),
        weight_decay=0.2, drop_path=0.4, clip=2.0, last_map="simple", channels=24, linear=48, anchors=33, regions=44,
        proposals=(55, 66), detections=77, least_score=0.3, rare_below=0.01, amp=False,
    )  # fmt: skip
    detector_config = other._detector_config(shapes.backbone("vit 16"), 2)
    design, config = detector_config.design, detector_config.configs[0]
    assert (design.mode, design.drop_path, design.last_map) == ("scratch", 0.4, "simple")
    assert (design.heads.masks, design.heads.channels, design.heads.linear) == (False, 24, 48)
    assert (design.heads.anchors, design.heads.regions) == (33, 44)
    assert (design.heads.proposals, design.heads.detections, design.heads.least_score) == ((55, 66), 77, 0.3)
    assert (config.epochs, config.drops, config.warmup_steps, config.micro_batch, config.clip) == (5, (3,), 7, 3, 2.0)
    assert (config.weight_decay, config.amp, detector_config.batch, detector_config.rare_below) == (0.2, False, 6, 0.01)


def test_canonical_forms() -> None:
    """The canonical form holds id, version and what differs from the defaults; a nested recipe is written out."""
    assert canonical(Detection()) == {"id": "detection-finetune", "version": Detection.version}
    assert canonical(Detection(mode="frozen", drops=(3,))) == {
        "id": "detection-frozen", "version": Detection.version, "mode": "frozen", "drops": [3],
    }  # fmt: skip
    assert [Detection(mode=mode).id for mode in ("frozen", "finetune", "scratch")] == [
        "detection-frozen", "detection-finetune", "detection-scratch",
    ]  # fmt: skip
    inner = {"id": "detection-finetune", "version": Detection.version, "masks": False}
    assert canonical(OODDetection()) == {
        "id": "ood-detection-finetune", "version": OODDetection.version, "detector": inner,
    }  # fmt: skip
    frozen = OODDetection(Detection(mode="frozen", masks=False, input_size=96))
    assert (frozen.id, frozen.input_size) == ("ood-detection-frozen", 96)


def test_mini_is_a_smaller_budget() -> None:
    """At mini scale no budget exceeds the paper's, nested recipes included, and fields set by hand stay."""
    paper, mini = Detection(), at_scale(Detection(), "mini")
    assert set(Detection.mini) <= {field.name for field in fields(Detection)}
    smaller = ("epochs", "warmup_steps", "batch", "short_side", "long_side", "channels", "linear", "anchors", "regions")
    for name in smaller:
        assert getattr(mini, name) < getattr(paper, name), name
    assert max(mini.drops) < mini.epochs
    assert mini.augmentation == "as tests"
    assert not mini.amp
    assert at_scale(OODDetection(), "mini").detector == replace(mini, masks=False)
    assert at_scale(Detection(epochs=3), "mini").epochs == 3
    assert at_scale(Detection(), "paper") == Detection()
    assert with_fidelity(OODDetection(), "paper").detector.fidelity == "paper"
    assert Detection(amp=True).precision("cpu") == "float32"


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
def test_it_is_measured_on_the_test_images(mode: Any, tmp_path: Path) -> None:
    """AP, AP50 and AP75 of boxes, then of masks, are those of the detections, with values per image and provenance."""
    recipe, dataset, backbone = replace(THIN, mode=mode), shapes.dataset(), shapes.backbone()
    measured = measure(recipe, tmp_path, dataset, backbone)
    assert list(measured) == NAMES
    [trained] = recipe.detectors(backbone, dataset, context_in(tmp_path), canonical(recipe))
    test = dataset["test"]
    assert test.objects is not None
    detections = trained.detections(test, context_in(tmp_path))
    for name, each in measured.items():
        metric, kind = name.split("_")
        aps = average_precision(detections, test.objects, dataset.classes, kind)  # type: ignore[arg-type]
        assert each.value == getattr(aps, metric)
        assert each.values is not None
        assert each.values.shape == (4,)
        assert (each.examples, each.clusters) == (test.ids, test.clusters)
        assert each.details["detections_per_image"] == len(detections) / 4 > 0
        assert ("by_class" in each.details) == (metric == "ap")
    details = measured["ap_box"].details
    assert list(details["by_class"]) == list(shapes.CLASSES)
    assert details["selection"] == "only run, not validated"
    assert details["validation"] == [-math.inf]
    assert details["run"] == ["adamw lr 0.001, weight decay 0.05"]
    assert (details["train_images"], details["validation_images"], details["seeds"]) == (8, 4, [0])
    assert details["detections"] == {"kind": "detections", "key": trained.detections_key(test)}
    assert "seed_std" not in details


def test_the_same_again_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second measurement trains nothing, even when an OOD recipe uses the detector."""
    first = measure(BOXES, tmp_path)
    monkeypatch.setattr(Trainer, "train_epoch", fail_if_called)
    monkeypatch.setattr(Detector, "detect", fail_if_called)
    with count_forwards() as count:
        again = measure(OODDetection(BOXES), tmp_path, backbone=shapes.backbone())
    assert list(again) == list(first) == NAMES[:3]
    assert {name: each.value for name, each in again.items()} == {name: each.value for name, each in first.items()}
    # a detector is built, whose shapes the stored weights have to fit; one image tells the channels of its maps
    assert count.images <= 1
    with pytest.raises(AssertionError):
        measure(replace(BOXES, weight_decay=0.1), tmp_path)


def perfect_detections(skipped: int, split: Split) -> Detections:
    """Return the objects of a split as detections, except those of its first `skipped` images."""
    assert split.objects is not None
    images = range(skipped, len(split))
    boxes, labels = zip(*((split.objects[i].boxes, split.objects[i].labels) for i in images), strict=True)
    rows = np.repeat(images, [len(each) for each in labels])
    return Detections(rows, np.concatenate(boxes), np.ones(len(rows)), np.concatenate(labels))


def test_values_are_means_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seed has its own detector; values are means over seeds, per image too."""
    monkeypatch.setattr(
        TrainedDetector, "detections", lambda self, split, context: perfect_detections(self.seed, split)
    )
    alone = [measure(BOXES, tmp_path, seeds=(seed,)) for seed in (0, 1)]
    both = measure(BOXES, tmp_path, seeds=(0, 1))
    for name, each in both.items():
        values = [single[name].value for single in alone]
        assert values[0] > values[1] > 0
        assert each.value == pytest.approx(np.mean(values))
        assert each.details["by_seed"] == values
        assert each.details["seed_std"] == pytest.approx(np.std(values, ddof=1))
        pseudo = [single[name].values for single in alone]
        assert each.values == pytest.approx(np.mean([one for one in pseudo if one is not None], axis=0))
        assert each.details["seeds"] == [0, 1]
    assert alone[0]["ap50_box"].details["detections"] != alone[1]["ap50_box"].details["detections"]


def test_lvis_is_judged_by_its_own_rules(tmp_path: Path) -> None:
    """Where a dataset states class frequencies, AP is that of LVIS, with AP of rare and frequent classes."""
    dataset = shapes.dataset(frequencies=("r", "f"))
    measured = measure(BOXES, tmp_path, dataset)
    [trained] = BOXES.detectors(shapes.backbone(), dataset, context_in(tmp_path), canonical(BOXES))
    test = dataset["test"]
    assert test.objects is not None
    detections = trained.detections(test, context_in(tmp_path))
    aps = federated_average_precision(detections, test.objects, dataset.classes, ("r", "f"), "box")
    assert measured["ap_box"].value == aps.ap
    assert {"rare", "frequent"} <= set(measured["ap_box"].details)
    assert "rare" not in measure(BOXES, tmp_path, replace(dataset, frequencies=()))["ap_box"].details


def test_paper_chooses_on_the_reported_images(tmp_path: Path) -> None:
    """With fidelity "paper", the rate is chosen on the reported images, and all of train is used."""
    dataset = replace(shapes.dataset(), paper_role="val")
    recipe = replace(BOXES, fidelity="paper", lrs=(1e-3, 3e-4))
    measured = measure(recipe, tmp_path, dataset)["ap_box"]
    assert measured.examples == dataset["val"].ids
    assert "on the reported images, as in the original" in measured.details["selection"]
    assert measured.details["validation"] == [measured.value]
    assert measured.details["train_images"] == 8
    without = measure(recipe, tmp_path, shapes.dataset(train=20, val=0), max_steps=1)["ap_box"].details
    assert (without["train_images"], without["validation_images"]) == (20, 4)


def test_images_are_carved_out_of_train_where_no_others_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a validation split, a tenth of train, at most 5,000 images, chooses the rate."""
    from bob_gauntlet.engine.training import examples

    limits: list[int] = []
    training_examples = examples.training_examples

    def note_limit(*arguments: Any, **options: Any) -> Any:
        limits.append(options["max_carved"])
        return training_examples(*arguments, **options)

    monkeypatch.setattr(examples, "training_examples", note_limit)
    details = measure(BOXES, tmp_path, shapes.dataset(train=20, val=0), max_steps=1)["ap_box"].details
    assert (details["train_images"], details["validation_images"]) == (18, 2)
    assert limits == [MAX_VALIDATION_IMAGES] == [5000]


@pytest.mark.parametrize("roles", [("train", "val", "test"), ("test",)])
def test_a_dataset_of_boxes_alone(roles: tuple[str, ...], tmp_path: Path) -> None:
    """Only boxes are measured where some or all splits have no masks."""
    dataset = shapes.dataset()
    bare = dict(dataset.splits)
    for role in roles:
        split = dataset[role]
        bare[role] = replace(split, objects=tuple(replace(one, masks=()) for one in split.objects or ()))
    assert list(measure(THIN, tmp_path, replace(dataset, splits=bare), max_steps=1)) == NAMES[:3]


def test_a_dataset_without_objects_is_missing_them(tmp_path: Path) -> None:
    """A dataset without boxes gives one line of error before anything is built."""
    dataset = shapes.dataset()
    bare = {role: replace(split, objects=None) for role, split in dataset.splits.items()}
    with pytest.raises(MissingError, match="shapes has no boxes; a detector needs a dataset of kind coco"):
        measure(THIN, tmp_path, replace(dataset, splits=bare))


def test_test_images_without_an_object(tmp_path: Path) -> None:
    """Test images without any object are an error."""
    dataset = shapes.dataset()
    empty = replace(dataset, splits={**dataset.splits, "test": shapes.split(4, "test", empty=4)})
    with pytest.raises(BobError, match="no image of shapes's test has an object; check its annotations"):
        measure(BOXES, tmp_path, empty, max_steps=1)


def test_a_backbone_without_maps_is_missing_them(tmp_path: Path) -> None:
    """A backbone without feature maps gives one line of error before an image is drawn."""
    backbone = shapes.backbone()
    backbone.identity = replace(backbone.identity, traits=replace(backbone.identity.traits, strides=()))
    with pytest.raises(MissingError, match="resnet gives no feature maps; detection needs them"):
        measure(THIN, tmp_path, backbone=backbone)


def test_without_mmdet_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mmdet the error names the extra to install."""
    from bob_gauntlet.engine.detection import mmdet_ops

    monkeypatch.setattr(mmdet_ops, "prepare", mmdet_ops.prepare.__wrapped__)
    monkeypatch.setattr(mmdet_ops, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r'pip install "bob-gauntlet\[detection\]"'):
        measure(THIN, tmp_path)


def test_each_kind_of_backbone_is_measured(tmp_path: Path) -> None:
    """Backbones of tokens, windows and convolutions are measured alike with jitter."""
    for kind in ("vit 14", "swin v2", "convnext"):
        recipe = replace(BOXES, augmentation="jitter", jitter_side=96, jitter_short=96)
        with shapes.nothing_missing():
            measured = measure(recipe, tmp_path / kind, backbone=shapes.backbone(kind))
        assert all(0 <= each.value <= 100 for each in measured.values())
