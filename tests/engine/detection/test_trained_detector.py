"""Training detectors by a grid search: what is stored, how a killed run continues, and that they learn."""

import math
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
from bob_gauntlet.errors import BobError, NotFiniteError
from bob_gauntlet.metrics.detection import average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.protocols.detection import Detection
from tests.helpers import shapes, tiny
from tests.helpers.artefacts import overwrite
from tests.helpers.calls import fail_if_called
from tests.helpers.contexts import context_in
from tests.helpers.killed import run_until_killed

RATES = (1e-3, 3e-4)


def detector_config(*lrs: float, **changes: Any) -> DetectorConfig:
    """Return a config with two epochs of two steps for each learning rate."""
    return shapes.detector_config(*(shapes.config(lr=lr) for lr in lrs or RATES[:1]), **changes)


def test_an_image_smaller_than_any_anchor_is_learned_from() -> None:
    """The loss is finite for very small images, which jitter makes, and for very narrow ones, such as panoramas."""
    for height, width in ((9, 12), (20, 200)):
        detector = shapes.detector().train()
        assert torch.isfinite(detector.loss([shapes.sample(height, width)]))


def train(
    folder: Path, config: DetectorConfig | None = None, backbone: Backbone | None = None, **options: Any
) -> TrainedDetector:
    """Train a detector on eight images, with seed 0."""
    network = backbone or shapes.backbone()
    return train_detector(
        network, shapes.examples(), config or detector_config(), 0, context_in(folder, **options), {"id": "r"}
    )


def same_detections(first: Detections, second: Detections) -> bool:
    """Return whether all numbers and masks are equal."""
    arrays, others = first.to_arrays(), second.to_arrays()
    return arrays.keys() == others.keys() and all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_the_same_again_trains_and_detects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call reads weights and detections from the artefacts; no image goes through a network."""
    backbone, test = shapes.backbone(), shapes.split(4, "test")
    with count_forwards() as count:
        first = train(tmp_path, backbone=backbone)
        before = first.detections(test, context_in(tmp_path))
    # two epochs of eight images, the test split, and an image for each of the three detectors that are built, which
    # finds the widths of the maps: to train, to compare shapes, and to detect; a single rate is not validated
    assert count.images == 2 * 8 + 4 + 3
    assert len(before) > 0
    for owner, name in ((Trainer, "train_epoch"), (Detector, "detect"), (Detector, "loss")):
        monkeypatch.setattr(owner, name, fail_if_called)
    with count_forwards() as count:
        again = train(tmp_path, backbone=shapes.backbone())
        assert same_detections(again.detections(test, context_in(tmp_path)), before)
    # of the detector whose shapes the stored weights have to fit
    assert count.images == 1
    assert again.facts == first.facts
    # the detections of another split are not stored
    with pytest.raises(AssertionError):
        again.detections(shapes.split(5, "test"), context_in(tmp_path))


def test_weights_that_are_kept_are_those_that_were_trained(tmp_path: Path) -> None:
    """The stored weights are those of the trained detector, without the weights of a frozen backbone."""
    for mode in ("finetune", "frozen", "scratch"):
        config = detector_config(mode=mode)
        first, again = (train(tmp_path / mode, config) for _ in range(2))
        detector = first.detector()
        assert tiny.identical(tiny.weights(detector), tiny.weights(again.detector()))
        assert not detector.training
        assert detector is first.detector()
        kept = {name for name in first.arrays if name != "facts"}
        assert any(name.startswith("model.backbone.") for name in kept) == (mode != "frozen")
        fresh = tiny.weights(Detector(shapes.backbone(), config.design, 0))
        assert not tiny.identical(fresh, tiny.weights(detector))


def test_the_facts_of_a_training(tmp_path: Path) -> None:
    """The facts have the runs, the sizes, and the box AP and AP50 of the chosen run on validation images."""
    trained = train(tmp_path, detector_config(*RATES))
    facts = trained.facts
    assert [each["run"] for each in facts["runs"]] == [f"adamw lr {lr:g}, weight decay 0.05" for lr in RATES]
    assert [(each["steps"], each["epochs"]) for each in facts["runs"]] == [(4, 2)] * 2
    expected = {
        "effective_batch": 4, "micro_batch": 4, "train_images": 8, "validation_images": 4, "drop_path": 0.0,
        "unreadable_images": 0,
    }  # fmt: skip
    assert expected.items() <= facts.items()
    assert facts["curve"]["epoch"] == [2]
    validation = shapes.split(4, "val")
    detections, unreadable = detect_split(
        trained.detector(), validation, trained.detector_config, context_in(tmp_path), masks=False
    )
    precision = average_precision(detections, validation.objects or (), ("0", "1"), "box")
    assert facts["judged"] == [precision.ap, precision.ap50]
    assert (detections.masks, unreadable) == ((), [])


def test_a_single_rate_is_not_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are those that it has among other rates; the facts have no validation score, and no NaN."""
    trained = train(tmp_path / "grid", detector_config(*RATES[:1], *RATES[:1]))
    monkeypatch.setattr(trained_detector, "detect_split", fail_if_called)
    alone = train(tmp_path / "alone", detector_config(RATES[0]))
    assert tiny.identical(tiny.weights(trained.detector()), tiny.weights(alone.detector()))
    facts = alone.facts
    assert (facts["judged"], facts["curve"]["validation"]) == ([-math.inf] * 2, [])
    assert facts["runs"] == [{"run": "adamw lr 0.001, weight decay 0.05", "epochs": 2, "steps": 4}]
    assert train(tmp_path / "alone", detector_config(RATES[0])).facts == facts


def test_the_rate_that_validation_prefers_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run with the higher AP50 is kept if both have the same AP."""
    validation_scores = iter([(40.0, 50.0), (40.0, 60.0)])

    class FakePrecision:
        """A result of average_precision with the next validation score."""

        def __init__(self, *args: Any) -> None:
            self.ap, self.ap50 = next(validation_scores)

    monkeypatch.setattr(trained_detector, "average_precision", FakePrecision)
    trained = train(tmp_path / "both", detector_config(*RATES))
    assert trained.facts["judged"] == [40.0, 60.0]
    assert "lr 0.0003" in trained.facts["chosen"]
    alone = train(tmp_path / "one", detector_config(RATES[1]))
    assert tiny.identical(tiny.weights(trained.detector()), tiny.weights(alone.detector()))


def test_validation_images_without_objects_have_the_score_zero(tmp_path: Path) -> None:
    """If validation images have no objects, the validation score is 0 and training succeeds."""
    examples = replace(shapes.examples(), validation=shapes.split(4, "val", empty=4))
    config = detector_config(*RATES)
    trained = train_detector(shapes.backbone(), examples, config, 0, context_in(tmp_path), {"id": "r"})
    assert trained.facts["judged"] == [0.0, 0.0]


VARIANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "seed": lambda: {"seed": 1},
    "recipe": lambda: {"recipe": {"id": "s"}},
    "examples": lambda: {"examples": TrainingExamples(shapes.split(6), shapes.split(4, "val"))},
    "validation": lambda: {"examples": TrainingExamples(shapes.split(8), shapes.split(5, "val"))},
    "steps": lambda: {"max_steps": 1},
    "backbone": lambda: {"backbone": shapes.backbone("convnext")},
}


def test_what_changes_a_detector_changes_its_artefact(tmp_path: Path) -> None:
    """Each of VARIANTS has an artefact of its own; processes, threads and the batch size change nothing."""
    for changes in ({}, *(make() for make in VARIANTS.values())):
        arguments: dict[str, Any] = {
            "backbone": shapes.backbone(), "examples": shapes.examples(), "detector_config": detector_config(),
            "seed": 0, "recipe": {"id": "r"}, "max_steps": None, **changes,
        }  # fmt: skip
        arguments["context"] = context_in(tmp_path, max_steps=arguments.pop("max_steps"))
        train_detector(**arguments)
    assert len(tiny.network_artefacts(tmp_path)) == 1 + len(VARIANTS)
    train(tmp_path, batch_size=8, loader_processes=1, reader_threads=3)
    assert len(tiny.network_artefacts(tmp_path)) == 1 + len(VARIANTS)


def test_processes_that_draw_change_no_weight(tmp_path: Path) -> None:
    """The artefact has the same bytes with two loader processes and with none."""
    train(tmp_path / "none")
    train(tmp_path / "two", loader_processes=2)
    assert tiny.network_artefacts(tmp_path / "none") == tiny.network_artefacts(tmp_path / "two")


def test_steps_cut_short(tmp_path: Path) -> None:
    """With `max_steps` every run ends early and is validated."""
    trained = train(tmp_path, detector_config(*RATES), max_steps=1)
    assert [(each["steps"], each["epochs"]) for each in trained.facts["runs"]] == [(1, 1)] * 2
    assert "chosen" in trained.facts


def test_a_rate_whose_loss_is_no_number_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The facts and the log name its step and rate, and the other runs go on; it is an error if no run is left."""
    loss = Detector.loss
    calls = [0]

    def spoilt(self: Detector, given: Any) -> torch.Tensor:
        calls[0] += 1
        return loss(self, given) * (torch.nan if calls[0] == 3 else 1)

    monkeypatch.setattr(Detector, "loss", spoilt)
    trained = train(tmp_path, detector_config(*RATES))
    reason = "the loss is not finite at step 3 (adamw lr 0.001, weight decay 0.05)"
    assert trained.facts["runs"][0] == {"run": "adamw lr 0.001, weight decay 0.05", "diverged": reason}
    assert trained.facts["runs"][1]["steps"] == 4
    assert "lr 0.0003" in trained.facts["chosen"]
    assert f"resnet: {reason}; the other runs continue" in caplog.text
    calls[0] = 0
    with pytest.raises(BobError, match=r"resnet: every training run failed: .*step 3"):
        train(tmp_path / "alone", detector_config(RATES[0]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("head", ["rpn_head", "roi_head.bbox_head.0", "roi_head.bbox_head.2", "roi_head.mask_head.2"])
def test_a_detector_of_no_numbers_is_an_error(head: str, bad: float, tmp_path: Path) -> None:
    """The error names the images: mmdet would leave NaN out, so that such an image would have no detection."""
    detector = shapes.detector().eval()
    for parameter in detector.model.get_submodule(head).parameters():
        parameter.data.fill_(bad)
    what = "resnet: boxes, scores or masks are NaN or infinite, on one of these images of train"
    # images of one orientation share a batch
    names = r"(train-\d, )*train-\d( and 1 more)?"
    with pytest.raises(NotFiniteError, match=rf"^{what}: {names}; check the checkpoint and its input normalisation$"):
        detect_split(detector, shapes.split(4), detector_config(), context_in(tmp_path))


def test_a_detector_that_validates_to_nan_is_never_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run diverged, and the other runs go on; it is an error if no run is left."""
    step = Trainer._step

    def spoiling_step(self: Trainer, batch: Any) -> torch.Tensor:
        loss = step(self, batch)
        if self.config.lr == RATES[0] and self.state.steps == 3:
            self.network.model.roi_head.bbox_head[0].fc_cls.weight.data.fill_(torch.nan)
        return loss

    monkeypatch.setattr(Trainer, "_step", spoiling_step)
    trained = train(tmp_path, detector_config(*RATES))
    reason = "the output for validation images is not finite after epoch 2 (adamw lr 0.001, weight decay 0.05)"
    assert trained.facts["runs"][0] == {"run": "adamw lr 0.001, weight decay 0.05", "diverged": reason}
    assert "lr 0.0003" in trained.facts["chosen"]
    with pytest.raises(BobError, match=r"resnet: every training run failed: NaN is in .*fc_cls\.weight"):
        train(tmp_path / "alone", detector_config(RATES[0]))


def test_a_detector_whose_mask_head_is_nan_has_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation by boxes does not use the mask head, so its weights are looked at."""

    def validate_and_spoil(detector: Detector, *arguments: Any, **options: Any) -> Any:
        detector.model.roi_head.mask_head[1].conv_logits.bias.data.fill_(torch.nan)
        return detect_split(detector, *arguments, **options)

    monkeypatch.setattr(trained_detector, "detect_split", validate_and_spoil)
    with pytest.raises(BobError, match=r"NaN is in model.roi_head.mask_head.1.conv_logits.bias \(adamw lr 0.001"):
        train(tmp_path, detector_config(*RATES))


def test_stored_detections_that_are_nan_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The detections are those of before, and a warning counts the bad ones."""
    trained, context, test = train(tmp_path), context_in(tmp_path), shapes.split(4, "test")
    expected = trained.detections(test, context)
    scores = expected.scores.copy()
    scores[0] = np.nan
    overwrite(context.artifacts, "detections", scores=scores)
    assert same_detections(trained.detections(test, context), expected)
    image = expected.images[0]
    reason = (
        f"the boxes or scores of 1 of {len(scores)} detections are NaN or infinite, on images with the indices {image}"
    )
    assert reason in caplog.text


def test_too_little_memory_is_a_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run halves the micro-batch, the second starts with it, and a step still has the same images."""
    loss, sizes = Detector.loss, []

    def limited(self: Detector, given: Any) -> torch.Tensor:
        sizes.append(len(given))
        if len(given) > 1:
            raise torch.OutOfMemoryError("full")
        return loss(self, given)

    monkeypatch.setattr(Detector, "loss", limited)
    trained = train(tmp_path, detector_config(*RATES))
    assert sizes == [4, 2, *[1] * 32]
    assert (trained.facts["micro_batch"], trained.facts["effective_batch"]) == (1, 4)
    assert [each["steps"] for each in trained.facts["runs"]] == [4, 4]


def test_the_loss_of_parts_is_that_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of three images is the same with micro-batches of one, two and three images."""

    def summed(self: Any, given: Any) -> torch.Tensor:
        return self.weight * torch.tensor([float(sample.boxes.sum()) for sample in given]).mean()

    monkeypatch.setattr(Detector, "loss", summed)
    losses = []
    for micro in (1, 2, 3):
        detector = shapes.detector()
        detector.weight = torch.nn.Parameter(torch.ones(()))
        config = shapes.config(micro_batch=micro)
        loader = small_loader(3)
        trainer = Trainer(detector, config, loader, DetectorLoss(), 0, "cpu")
        monkeypatch.setattr(detector, "check_gradients", lambda: None)
        losses.append(float(trainer._step(next(iter(loader.epoch(0))))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] == pytest.approx(losses[2], rel=1e-6)
    assert losses[0] > 1


def small_loader(batch: int) -> Any:
    """Return a loader of six images."""
    return create_detection_loader(shapes.split(6), shapes.SCALING, masks=True, batch_size=batch, seed=0)


def test_the_rates_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the paper's code the rate warms up from a thousandth, and is a tenth after 27 of 36 epochs and after 33."""
    config = Detection(warmup_steps=6)._training_config(1e-4)
    assert (config.optimiser, config.weight_decay, config.layer_decay) == ("adamw", 0.05, None)
    loader = small_loader(3)
    trainer = Trainer(shapes.detector(), replace(config, amp=False), loader, DetectorLoss(), 0, "cpu")
    rates_by_step = []

    def record_rate(batch: Any) -> torch.Tensor:
        rates_by_step.append({group["lr"] for group in trainer.optimiser.param_groups})
        return torch.zeros(())

    monkeypatch.setattr(trainer, "_step", record_rate)
    while not trainer.finished:
        trainer.train_epoch(lambda count: None)
    rates = [lr for lrs in rates_by_step for lr in lrs]
    warm = [1e-7 + (1e-4 - 1e-7) * step / 6 for step in range(6)]
    assert len(loader) == 2
    assert rates == pytest.approx([*warm, *[1e-4] * 48, *[1e-5] * 12, *[1e-6] * 6])


def test_rare_classes_are_seen_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `rare_below` the loader repeats training images by their repeat factors."""
    repeats: list[Any] = []
    create_loader = trained_detector.create_detection_loader

    def record_repeats(*args: Any, **options: Any) -> Any:
        repeats.append(options["repeats"])
        return create_loader(*args, **options)

    monkeypatch.setattr(trained_detector, "create_detection_loader", record_repeats)
    train(tmp_path / "a", detector_config(rare_below=0.9), max_steps=1)
    train(tmp_path / "b", detector_config(), max_steps=1)
    factors = repeat_factors(shapes.split(8), 0.9)
    assert np.array_equal(repeats[0], factors)
    assert factors.max() > 1
    assert repeats[1] is None


@pytest.mark.parametrize("kind", ["resnet", "vit 16"])
def test_detections_do_not_depend_on_the_batch_size(kind: str, tmp_path: Path) -> None:
    """Detections are the same with one image at a time and with four."""
    detector = shapes.detector(shapes.backbone(kind)).eval()
    results = [
        detect_split(detector, shapes.split(9), detector_config(), context_in(tmp_path, batch_size=8 * size))[0]
        for size in (1, 4)
    ]
    assert len(results[0]) == 9 * shapes.HEADS.detections
    assert np.array_equal(results[0].images, results[1].images)
    assert np.array_equal(results[0].labels, results[1].labels)
    assert results[0].boxes == pytest.approx(results[1].boxes, abs=1e-3)
    assert results[0].scores == pytest.approx(results[1].scores, abs=1e-4)


def test_detections_are_in_the_order_of_the_images(tmp_path: Path) -> None:
    """They are in that order although batches are by padded size; boxes and masks are those of each image alone."""
    split, detector = shapes.split(6), shapes.detector().eval()
    config = detector_config(scaling=Scaling(200, 200, "as tests"))
    whole, _ = detect_split(detector, split, config, context_in(tmp_path))
    for index in range(6):
        alone, _ = detect_split(detector, split.take(np.array([index]), "one"), config, context_in(tmp_path))
        rows = np.flatnonzero(whole.images == index)
        assert whole.boxes[rows] == pytest.approx(alone.boxes, abs=1e-3)
        objects = split.objects[index]  # type: ignore[index]
        assert (whole.boxes[rows, 2:] > 0).all()
        assert (whole.boxes[rows, :2] + whole.boxes[rows, 2:] <= np.array([objects.width, objects.height]) + 1e-3).all()
        for row in rows:
            pixels = coco.decode({"size": [objects.height, objects.width], "counts": whole.masks[row]})
            left, top, wide, high = whole.boxes[row]
            inside = np.zeros_like(pixels)
            inside[int(top) : int(top + high) + 2, int(left) : int(left + wide) + 2] = 1
            assert not (pixels & ~inside.astype(bool)).any()


def test_images_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    """Their number is stored with the detections and recorded in the context; more than 1% are an error."""

    def split_with_a_broken_image(count: int) -> Any:
        split = shapes.split(count, "test")

        def image(index: int) -> Image.Image:
            if index == 1:
                raise UnreadableImage("one.jpg (truncated)")
            return split.image(index)

        return replace(split, image=image)

    trained = train(tmp_path)
    for _ in range(2):
        context = context_in(tmp_path)
        trained.detections(split_with_a_broken_image(101), context)
        assert context.unreadable.by_role == {"test": 1}
    with pytest.raises(BobError, match=r"one.jpg \(truncated\)"):
        trained.detections(split_with_a_broken_image(20), context_in(tmp_path))


def test_placeholder_names_are_numbers() -> None:
    """There is a name for each class."""
    assert placeholder_names(3) == ("0", "1", "2")


def interrupted(folder: Path) -> TrainedDetector:
    """Run the grid search that tests kill and start again; stochastic depth, crops and sampled regions are random."""
    config = detector_config(*RATES, scaling=Scaling(64, 96, "jitter"))
    return train(folder, replace(config, design=replace(config.design, drop_path=0.2)), shapes.backbone("convnext"))


def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 in the second epoch of the second run only its last step is trained, to the same bytes."""
    interrupted(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    run_until_killed("tests.engine.detection.test_trained_detector", folder, 3)
    steps: list[float] = []
    step = Trainer._step

    def count_step(self: Trainer, batch: Any) -> torch.Tensor:
        steps.append(self.config.lr)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_step", count_step)
    interrupted(folder)
    assert steps == [RATES[1]]
    assert tiny.network_artefacts(folder) == tiny.network_artefacts(tmp_path / "undisturbed")
    assert list((folder / "checkpoints").iterdir()) == []


def test_a_run_goes_on_from_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is saved after every step continues to the same weights, from the middle or the end of an epoch."""
    whole = interrupted(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0.0)
    step = Trainer._step
    for number in (1, 3, 6):
        calls = [0]

        def stop_after(self: Trainer, batch: Any, calls: list[int] = calls, number: int = number) -> torch.Tensor:
            calls[0] += 1
            if calls[0] > number:
                raise KeyboardInterrupt
            return step(self, batch)

        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", stop_after)
            with pytest.raises(KeyboardInterrupt):
                interrupted(folder)
        assert tiny.identical(tiny.weights(interrupted(folder).detector()), tiny.weights(whole.detector()))


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    """Trained on 24 images from random weights, AP50 on test images is far above that against wrong annotations.

    The control scores the same detections against the objects of the next image.
    """
    heads = Heads(
        channels=32, linear=64, box_convs=1, mask_convs=1, anchors=64, regions=32, proposals=(100, 50), detections=10
    )  # fmt: skip
    training_config = shapes.config(lr=2e-3, epochs=9, drops=(8,), warmup_steps=3, micro_batch=8)
    config = DetectorConfig((training_config,), Design(2, "scratch", heads), Scaling(64, 80, "as tests"), 8)
    examples = TrainingExamples(shapes.split(24), shapes.split(4, "val"))
    trained = train_detector(shapes.backbone(pretrained=False), examples, config, 0, context_in(tmp_path), {"id": "r"})
    test = shapes.split(16, "test")
    detections = trained.detections(test, context_in(tmp_path))
    assert test.objects is not None
    right, wrong = (
        average_precision(detections, objects, shapes.CLASSES, "box").ap50 or 0.0
        for objects in (test.objects, (*test.objects[1:], test.objects[0]))
    )
    masks = average_precision(detections, test.objects, shapes.CLASSES, "mask").ap50 or 0.0
    assert right > 50
    assert right > 5 * wrong
    assert masks > 30
