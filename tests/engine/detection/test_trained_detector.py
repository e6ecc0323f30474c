"""Training detectors over a grid: what is kept, what a kill leaves, and that they learn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco
from PIL import Image

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.engine.detection import trained_detector
from bob_gauntlet.engine.detection.cascade import Heads
from bob_gauntlet.engine.detection.data_loading import create_detection_loader, repeat_factors
from bob_gauntlet.engine.detection.detector import Design, Detector
from bob_gauntlet.engine.detection.resizing import Scaling
from bob_gauntlet.engine.detection.trained_detector import (
    DetectorConfig,
    DetectorLoss,
    TrainedDetector,
    detect_split,
    placeholder_names,
    train_detector,
)
from bob_gauntlet.engine.training import loop
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.detection import average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.protocols.detection import Detection
from tests.helpers import shapes, tiny
from tests.helpers.calls import fail_if_called
from tests.helpers.contexts import context_in
from tests.helpers.killed import run_until_killed

RATES = (1e-3, 3e-4)


def detector_config(*lrs: float, **changes: Any) -> DetectorConfig:
    """Two epochs of two steps for each rate."""
    return shapes.detector_config(*(shapes.config(lr=lr) for lr in lrs or RATES[:1]), **changes)


def test_an_image_smaller_than_any_anchor_is_learned_from() -> None:
    """What jitter makes of a small one; panoramas are as narrow."""
    for height, width in ((9, 12), (20, 200)):
        detector = shapes.detector().train()
        assert torch.isfinite(detector.loss([shapes.sample(height, width)]))


def trained(
    folder: Path, how: DetectorConfig | None = None, backbone: Backbone | None = None, **options: Any
) -> TrainedDetector:
    """On eight images, with seed 0."""
    found = backbone or shapes.backbone()
    return train_detector(
        found, shapes.examples(), how or detector_config(), 0, context_in(folder, **options), {"id": "r"}
    )


def same(first: Detections, second: Detections) -> bool:
    """In every number and mask."""
    one, two = first.to_arrays(), second.to_arrays()
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_the_same_again_trains_and_detects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and detections come from the artefacts; no image goes through a network."""
    backbone, test = shapes.backbone(), shapes.split(4, "test")
    with count_forwards() as count:
        first = trained(tmp_path, backbone=backbone)
        before = first.detections(test, context_in(tmp_path))
    # two epochs of eight images, four validated after the last, the test split, and an image for each of the two
    # detectors that are built, which finds the widths of the maps
    assert count.images == 2 * 8 + 4 + 4 + 2
    assert len(before) > 0
    for owner, name in ((Trainer, "train_epoch"), (Detector, "detect"), (Detector, "loss"), (Detector, "__init__")):
        monkeypatch.setattr(owner, name, fail_if_called)
    with count_forwards() as count:
        again = trained(tmp_path, backbone=shapes.backbone())
        assert same(again.detections(test, context_in(tmp_path)), before)
    assert count.images == 0
    assert again.facts == first.facts
    # not of another split
    with pytest.raises(AssertionError):
        again.detections(shapes.split(5, "test"), context_in(tmp_path))


def test_weights_that_are_kept_are_those_that_were_trained(tmp_path: Path) -> None:
    """A frozen backbone's are not among them."""
    for mode in ("finetune", "frozen", "scratch"):
        how = detector_config(mode=mode)
        first, again = (trained(tmp_path / mode, how) for _ in range(2))
        detector = first.detector()
        assert tiny.identical(tiny.weights(detector), tiny.weights(again.detector()))
        assert not detector.training
        assert detector is first.detector()
        kept = {name for name in first.arrays if name != "facts"}
        assert any(name.startswith("model.backbone.") for name in kept) == (mode != "frozen")
        fresh = tiny.weights(Detector(shapes.backbone(), how.design, 0))
        assert not tiny.identical(fresh, tiny.weights(detector))


def test_the_facts_of_a_training(tmp_path: Path) -> None:
    """The rate that validation prefers, its box AP and AP50, and the losses."""
    found = trained(tmp_path, detector_config(*RATES))
    facts = found.facts
    assert [each["run"] for each in facts["runs"]] == [f"adamw lr {lr:g}, weight decay 0.05" for lr in RATES]
    assert [(each["steps"], each["epochs"]) for each in facts["runs"]] == [(4, 2)] * 2
    expected = {
        "effective_batch": 4, "micro_batch": 4, "train_images": 8, "validation_images": 4, "drop_path": 0.0,
        "unreadable_images": 0,
    }  # fmt: skip
    assert expected.items() <= facts.items()
    assert facts["curve"]["epoch"] == [2]
    validation = shapes.split(4, "val")
    own, unreadable = detect_split(
        found.detector(), validation, found.detector_config, context_in(tmp_path), masks=False
    )
    aps = average_precision(own, validation.objects or (), ("0", "1"), "box")
    assert facts["judged"] == [aps.ap, aps.ap50]
    assert (own.masks, unreadable) == ((), [])


def test_the_rate_that_validation_prefers_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AP50 decides between equal APs."""
    told = iter([(40.0, 50.0), (40.0, 60.0)])

    class Judged:
        """As average_precision gives it."""

        def __init__(self, *args: Any) -> None:
            self.ap, self.ap50 = next(told)

    monkeypatch.setattr(trained_detector, "average_precision", Judged)
    found = trained(tmp_path / "both", detector_config(*RATES))
    assert found.facts["judged"] == [40.0, 60.0]
    assert "lr 0.0003" in found.facts["chosen"]
    told = iter([(1.0, 1.0)])
    alone = trained(tmp_path / "one", detector_config(RATES[1]))
    assert tiny.identical(tiny.weights(found.detector()), tiny.weights(alone.detector()))


def test_an_ap_of_no_objects_is_zero(tmp_path: Path) -> None:
    """Where validation images have none, the loss alone has been seen."""
    shown = replace(shapes.examples(), validation=shapes.split(4, "val", empty=4))
    found = train_detector(shapes.backbone(), shown, detector_config(), 0, context_in(tmp_path), {"id": "r"})
    assert found.facts["judged"] == [0.0, 0.0]


VARIANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "seed": lambda: {"seed": 1},
    "recipe": lambda: {"recipe": {"id": "s"}},
    "examples": lambda: {"examples": TrainingExamples(shapes.split(6), shapes.split(4, "val"))},
    "validation": lambda: {"examples": TrainingExamples(shapes.split(8), shapes.split(5, "val"))},
    "steps": lambda: {"max_steps": 1},
    "backbone": lambda: {"backbone": shapes.backbone("convnext")},
}


def test_what_changes_a_detector_changes_its_artefact(tmp_path: Path) -> None:
    """And what does not, does not: processes, images that are tested at once."""
    for changes in ({}, *(make() for make in VARIANTS.values())):
        asked: dict[str, Any] = {
            "backbone": shapes.backbone(), "examples": shapes.examples(), "detector_config": detector_config(),
            "seed": 0, "recipe": {"id": "r"}, "max_steps": None, **changes,
        }  # fmt: skip
        asked["context"] = context_in(tmp_path, max_steps=asked.pop("max_steps"))
        train_detector(**asked)
    assert len(tiny.network_artefacts(tmp_path)) == 1 + len(VARIANTS)
    trained(tmp_path, batch_size=8, loader_processes=1, reader_threads=3)
    assert len(tiny.network_artefacts(tmp_path)) == 1 + len(VARIANTS)


def test_processes_that_draw_change_no_weight(tmp_path: Path) -> None:
    """Byte for byte."""
    trained(tmp_path / "none")
    trained(tmp_path / "two", loader_processes=2)
    assert tiny.network_artefacts(tmp_path / "none") == tiny.network_artefacts(tmp_path / "two")


def test_steps_cut_short(tmp_path: Path) -> None:
    """Every run ends after them and is judged."""
    found = trained(tmp_path, detector_config(*RATES), max_steps=1)
    assert [(each["steps"], each["epochs"]) for each in found.facts["runs"]] == [(1, 1)] * 2
    assert "chosen" in found.facts


def test_a_rate_whose_loss_is_no_number_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Step and rate are said; the others go on."""
    loss = Detector.loss
    calls = [0]

    def spoilt(self: Detector, given: Any) -> torch.Tensor:
        calls[0] += 1
        return loss(self, given) * (torch.nan if calls[0] == 3 else 1)

    monkeypatch.setattr(Detector, "loss", spoilt)
    found = trained(tmp_path, detector_config(*RATES))
    reason = "the loss is not finite at step 3 (adamw lr 0.001, weight decay 0.05)"
    assert found.facts["runs"][0] == {"run": "adamw lr 0.001, weight decay 0.05", "diverged": reason}
    assert found.facts["runs"][1]["steps"] == 4
    assert "lr 0.0003" in found.facts["chosen"]
    assert f"resnet: {reason}; the other runs continue" in caplog.text
    calls[0] = 0
    with pytest.raises(BobError, match=r"resnet: every training run failed: .*step 3"):
        trained(tmp_path / "alone", detector_config(RATES[0]))


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf])
def test_a_detector_of_no_numbers_finds_nothing(spoilt: float, tmp_path: Path) -> None:
    """Weights that the last step ruined cost their run, not the others."""
    detector = shapes.detector().eval()
    for parameter in detector.model.roi_head.parameters():
        parameter.data.fill_(spoilt)
    found, _ = detect_split(detector, shapes.split(4), detector_config(), context_in(tmp_path))
    assert len(found) == 0


def test_too_little_memory_is_a_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run halves what goes through at once, the second begins with it; the step is of as many images."""
    loss, sizes = Detector.loss, []

    def limited(self: Detector, given: Any) -> torch.Tensor:
        sizes.append(len(given))
        if len(given) > 1:
            raise torch.OutOfMemoryError("full")
        return loss(self, given)

    monkeypatch.setattr(Detector, "loss", limited)
    found = trained(tmp_path, detector_config(*RATES))
    assert sizes == [4, 2, *[1] * 32]
    assert (found.facts["micro_batch"], found.facts["effective_batch"]) == (1, 4)
    assert [each["steps"] for each in found.facts["runs"]] == [4, 4]


def test_the_loss_of_parts_is_that_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image counts the same, in parts of two and one as in three at once."""

    def summed(self: Any, given: Any) -> torch.Tensor:
        return self.weight * torch.tensor([float(scene.boxes.sum()) for scene in given]).mean()

    monkeypatch.setattr(Detector, "loss", summed)
    made = []
    for micro in (1, 2, 3):
        detector = shapes.detector()
        detector.weight = torch.nn.Parameter(torch.ones(()))
        config = shapes.config(micro_batch=micro)
        loader = training_stream(3)
        trainer = Trainer(detector, config, loader, DetectorLoss(), 0, "cpu")
        monkeypatch.setattr(detector, "check_gradients", lambda: None)
        made.append(float(trainer._step(next(iter(loader.epoch(0))))))
    assert made[0] == pytest.approx(made[1], rel=1e-6)
    assert made[0] == pytest.approx(made[2], rel=1e-6)
    assert made[0] > 1


def training_stream(batch: int) -> Any:
    """Of six images."""
    return create_detection_loader(shapes.split(6), shapes.SCALING, masks=True, batch_size=batch, seed=0)


def test_the_rates_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up from a thousandth, a tenth after 27 of 36 epochs, a hundredth after 33 (PROTOCOLS 1.7)."""
    config = Detection(warmup_steps=6)._training_config(1e-4)
    assert (config.optimiser, config.weight_decay, config.layer_decay) == ("adamw", 0.05, None)
    loader = training_stream(3)
    trainer = Trainer(shapes.detector(), replace(config, amp=False), loader, DetectorLoss(), 0, "cpu")
    seen = []

    def noted(batch: Any) -> torch.Tensor:
        seen.append({group["lr"] for group in trainer.optimiser.param_groups})
        return torch.zeros(())

    monkeypatch.setattr(trainer, "_step", noted)
    while not trainer.finished:
        trainer.train_epoch(lambda count: None)
    rates = [lr for lrs in seen for lr in lrs]
    warm = [1e-7 + (1e-4 - 1e-7) * step / 6 for step in range(6)]
    assert len(loader) == 2
    assert rates == pytest.approx([*warm, *[1e-4] * 48, *[1e-5] * 12, *[1e-6] * 6])


def test_rare_classes_are_seen_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the factors of the images that are trained on."""
    told: list[Any] = []
    whole = trained_detector.create_detection_loader

    def noted(*args: Any, **options: Any) -> Any:
        told.append(options["repeats"])
        return whole(*args, **options)

    monkeypatch.setattr(trained_detector, "create_detection_loader", noted)
    trained(tmp_path / "a", detector_config(rare_below=0.9), max_steps=1)
    trained(tmp_path / "b", detector_config(), max_steps=1)
    factors = repeat_factors(shapes.split(8), 0.9)
    assert np.array_equal(told[0], factors)
    assert factors.max() > 1
    assert told[1] is None


@pytest.mark.parametrize("kind", ["resnet", "vit 16"])
def test_what_is_found_does_not_depend_on_the_batch(kind: str, tmp_path: Path) -> None:
    """One image at a time, or four."""
    detector = shapes.detector(shapes.backbone(kind)).eval()
    found = [
        detect_split(detector, shapes.split(9), detector_config(), context_in(tmp_path, batch_size=8 * size))[0]
        for size in (1, 4)
    ]
    assert len(found[0]) == 9 * shapes.HEADS.detections
    assert np.array_equal(found[0].images, found[1].images)
    assert np.array_equal(found[0].labels, found[1].labels)
    assert found[0].boxes == pytest.approx(found[1].boxes, abs=1e-3)
    assert found[0].scores == pytest.approx(found[1].scores, abs=1e-4)


def test_detections_are_in_the_order_of_the_images(tmp_path: Path) -> None:
    """Though those of one padded size are found together: left, top, width, height, and masks in columns."""
    split, detector = shapes.split(6), shapes.detector().eval()
    how = detector_config(scaling=Scaling(200, 200, "as tests"))
    whole, _ = detect_split(detector, split, how, context_in(tmp_path))
    for index in range(6):
        alone, _ = detect_split(detector, split.take(np.array([index]), "one"), how, context_in(tmp_path))
        rows = np.flatnonzero(whole.images == index)
        assert whole.boxes[rows] == pytest.approx(alone.boxes, abs=1e-3)
        own = split.objects[index]  # type: ignore[index]
        assert (whole.boxes[rows, 2:] > 0).all()
        assert (whole.boxes[rows, :2] + whole.boxes[rows, 2:] <= np.array([own.width, own.height]) + 1e-3).all()
        for row in rows:
            pixels = coco.decode({"size": [own.height, own.width], "counts": whole.masks[row]})
            left, top, wide, high = whole.boxes[row]
            inside = np.zeros_like(pixels)
            inside[int(top) : int(top + high) + 2, int(left) : int(left + wide) + 2] = 1
            assert not (pixels & ~inside.astype(bool)).any()


def test_images_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    """In what is kept, so that the second time knows as well; more than 1% are an error."""

    def broken(count: int) -> Any:
        split = shapes.split(count, "test")

        def image(index: int) -> Image.Image:
            if index == 1:
                raise UnreadableImage("one.jpg (truncated)")
            return split.image(index)

        return replace(split, image=image)

    found = trained(tmp_path)
    for _ in range(2):
        context = context_in(tmp_path)
        found.detections(broken(101), context)
        assert context.unreadable.by_role == {"test": 1}
    with pytest.raises(BobError, match=r"one.jpg \(truncated\)"):
        found.detections(broken(20), context_in(tmp_path))


def test_class_names_are_as_many() -> None:
    """Nobody reads them."""
    assert placeholder_names(3) == ("0", "1", "2")


def interrupted(folder: Path) -> TrainedDetector:
    """The grid that is killed, and started again: stochastic depth, crops and sampled regions are all drawn."""
    how = detector_config(*RATES, scaling=Scaling(64, 96, "jitter"))
    return trained(folder, replace(how, design=replace(how.design, drop_path=0.2)), shapes.backbone("convnext"))


def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 in the second epoch of the second run: that epoch alone is trained again."""
    interrupted(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    run_until_killed("tests.engine.detection.test_trained_detector", folder, 3)
    steps: list[float] = []
    step = Trainer._step

    def counted(self: Trainer, batch: Any) -> torch.Tensor:
        steps.append(self.config.lr)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_step", counted)
    interrupted(folder)
    assert steps == [RATES[1]] * 2
    assert tiny.network_artefacts(folder) == tiny.network_artefacts(tmp_path / "undisturbed")
    assert list((folder / "checkpoints").iterdir()) == []


def test_a_run_goes_on_from_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved after every step, and killed after one, at the end of an epoch or in its middle."""
    whole = interrupted(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0.0)
    step = Trainer._step
    for number in (1, 3, 6):
        calls = [0]

        def dying(self: Trainer, batch: Any, calls: list[int] = calls, number: int = number) -> torch.Tensor:
            calls[0] += 1
            if calls[0] > number:
                raise KeyboardInterrupt
            return step(self, batch)

        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", dying)
            with pytest.raises(KeyboardInterrupt):
                interrupted(folder)
        assert tiny.identical(tiny.weights(interrupted(folder).detector()), tiny.weights(whole.detector()))


def test_it_learns(tmp_path: Path) -> None:
    """24 images of two easy classes, from random weights: held-out AP50 far above that against wrong annotations.

    The control is the recipe's: the same detections scored against the annotations of the next image.
    """
    heads = Heads(
        channels=32, linear=64, box_convs=1, mask_convs=1, anchors=64, regions=32, proposals=(100, 50), detections=10
    )  # fmt: skip
    config = shapes.config(lr=2e-3, epochs=9, drops=(8,), warmup_steps=3, micro_batch=8)
    how = DetectorConfig((config,), Design(2, "scratch", heads), Scaling(64, 80, "as tests"), 8)
    shown = TrainingExamples(shapes.split(24), shapes.split(4, "val"))
    found = train_detector(shapes.backbone(pretrained=False), shown, how, 0, context_in(tmp_path), {"id": "r"})
    test = shapes.split(16, "test")
    detections = found.detections(test, context_in(tmp_path))
    assert test.objects is not None
    own, wrong = (
        average_precision(detections, objects, shapes.CLASSES, "box").ap50 or 0.0
        for objects in (test.objects, (*test.objects[1:], test.objects[0]))
    )
    masks = average_precision(detections, test.objects, shapes.CLASSES, "mask").ap50 or 0.0
    assert own > 50
    assert own > 5 * wrong
    assert masks > 30
