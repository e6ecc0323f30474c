"""A grid of runs: which one is kept, what is never done twice, and what a kill leaves behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.engine.frozen.probe import validation_score
from bob_gauntlet.engine.training import classifier, grid_search, loop
from bob_gauntlet.engine.training.classifier import ClassifierConfig, TrainedClassifier, train_classifier
from bob_gauntlet.engine.training.examples import TrainingExamples, training_examples
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.progress import Progress
from tests.helpers import tiny
from tests.helpers.contexts import context_in
from tests.helpers.killed import run_until_killed

RATES = (1e-2, 3e-3, 1e-3)


def rates(*lrs: float, **changes: Any) -> ClassifierConfig:
    """A plan of two epochs for each learning rate."""
    return tiny.classifier_config(*(tiny.config(lr=lr, epochs=2) for lr in lrs), **changes)


def tuned(
    folder: Path, classifier_config: ClassifierConfig, backbone: Backbone | None = None, **options: Any
) -> TrainedClassifier:
    """What the grid gives on 48 images, with seed 0."""
    return train_classifier(
        backbone or tiny.backbone(), tiny.examples(), classifier_config, 0, context_in(folder, **options), {"id": "r"}
    )


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every epoch that is trained."""
    found: list[float] = []
    epoch = Trainer.train_epoch

    def counted(self: Trainer, *told: Any) -> float:
        found.append(self.config.lr)
        return epoch(self, *told)

    monkeypatch.setattr(Trainer, "train_epoch", counted)
    return found


def judged(monkeypatch: pytest.MonkeyPatch, *scores: tuple[float, float]) -> None:
    """Validation says these, one after the other."""
    told = iter(scores)
    monkeypatch.setattr(classifier, "validation_score", lambda *args: next(told))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(50.0, -1.0), (60.0, -9.0), (40.0, -0.1)], 1),
        ([(50.0, -2.0), (50.0, -3.0), (50.0, -1.0)], 2),
        ([(50.0, -1.0), (50.0, -1.0), (50.0, -1.0)], 0),
        ([(50.0, -1.0), (40.0, -1.0), (30.0, -1.0)], 0),
    ],
    ids=["score", "loss decides between equal ones", "the first of equal ones", "not the last"],
)
def test_the_run_that_validation_prefers_is_kept(
    scores: list[tuple[float, float]], best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of a grid of that run alone; all are on record."""
    # after the first epoch of each run validation says the opposite
    judged(monkeypatch, *(told for score in scores for told in ((100 - score[0], 0.0), score)))
    found = tuned(tmp_path / "all", rates(*RATES))
    monkeypatch.setattr(classifier, "validation_score", validation_score)
    alone = tuned(tmp_path / "one", rates(RATES[best]))
    assert tiny.identical(tiny.weights(found.network()), tiny.weights(alone.network()))
    assert found.facts["chosen"] == f"adamw lr {RATES[best]:g}, weight decay 0.05"
    assert found.facts["judged"] == list(scores[best])
    assert found.facts["curve"]["validation"] == [100 - scores[best][0], scores[best][0]]
    assert found.facts["runs"] == [
        {"run": f"adamw lr {lr:g}, weight decay 0.05", "validation": score[0], "epochs": 2, "steps": 6}
        for lr, score in zip(RATES, scores, strict=True)
    ]
    facts = {"effective_batch": 16, "micro_batch": 16, "train_images": 48, "validation_images": 24, "drop_path": 0.0}
    assert facts.items() <= found.facts.items()


def test_validation_is_that_of_the_chosen_network(tmp_path: Path) -> None:
    """Accuracy and negative loss of its logits on the images that chose it."""
    found = tuned(tmp_path, rates(*RATES))
    held_out = found.held_out(context_in(tmp_path))
    assert held_out is not None
    logits, targets = held_out
    log_likelihood = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    accuracy = 100 * (logits.argmax(axis=1) == targets).mean()
    assert found.facts["judged"] == pytest.approx([accuracy, log_likelihood[np.arange(24), targets].mean()], rel=1e-5)
    assert max(each["validation"] for each in found.facts["runs"]) == round(accuracy, 4) > 60


# of 24 images, best 90% and own p%: the standard error of the gap is 100 sqrt(2 q (1 - q) / 24), q their mean.
# p = 65: q = 0.775, error 12.05, gap 25 > 24.1; p = 66: q = 0.78, error 11.96, gap 24 > 23.9; p = 67: 11.86, 23 < 23.7
@pytest.mark.parametrize(("own", "stopped"), [(65.0, True), (66.0, True), (67.0, False), (95.0, False)])
@pytest.mark.parametrize("stop_beaten", [True, False])
def test_a_clearly_beaten_run_ends_early(
    own: float, stopped: bool, stop_beaten: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[float]
) -> None:
    """After the second epoch at the earliest, by two standard errors at the same epoch, where that was asked for."""
    judged(monkeypatch, *((score, 0.0) for score in (10, 90, 60, 40, 1, own, 99, 99)))
    classifier_config = tiny.classifier_config(
        *(tiny.config(lr=lr, epochs=4) for lr in RATES[:2]), stop_beaten=stop_beaten
    )
    found = tuned(tmp_path, classifier_config)
    last = found.facts["runs"][1]
    if stopped and stop_beaten:
        assert epochs == [RATES[0]] * 4 + [RATES[1]] * 2
        assert (last["stopped"], last["epochs"], last["validation"]) == ("clearly beaten", 2, own)
        assert "lr 0.01" in found.facts["chosen"]
    else:
        assert epochs == [RATES[0]] * 4 + [RATES[1]] * 4
        assert "stopped" not in last
        assert "lr 0.003" in found.facts["chosen"]


def test_the_same_again_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network and logits come from the artefacts; no image goes through the backbone."""
    backbone, test = tiny.backbone(), tiny.split(30, "test")
    with count_forwards() as count:
        first = tuned(tmp_path, rates(*RATES), backbone)
        before = first.scores(test, context_in(tmp_path))
    # 3 runs of 2 epochs of 48 images, 24 validated after each, the test split, and two images for each of the four
    # networks that are built, which find the width of its features
    assert count.images == 3 * 2 * (48 + 24) + 30 + 4 * 2

    def never(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Trainer, "train_epoch", never)
    monkeypatch.setattr(Network, "forward", never)
    with count_forwards() as count:
        again = tuned(tmp_path, rates(*RATES), tiny.backbone())
        assert np.array_equal(again.scores(test, context_in(tmp_path)), before)
    assert count.images == 0
    assert again.facts == first.facts
    assert tiny.identical(tiny.weights(first.network()), tiny.weights(again.network()))


def test_the_logits_are_the_networks(tmp_path: Path) -> None:
    """In evaluation mode, of images as the backbone's own transform gives them, in any batches."""
    found = tuned(tmp_path, rates(1e-2), tiny.backbone(dropout=0.5))
    test = tiny.split(30, "test", side=tiny.SIDE)
    raw = np.stack([np.asarray(test.image(i)) for i in range(30)]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = found.network()(torch.from_numpy(raw.astype(np.float32)) / 127.5 - 1)
        attacked = found.differentiable()[1](torch.from_numpy(raw.astype(np.float32)) / 255)
    assert not found.network().training
    assert found.scores(test, context_in(tmp_path)) == pytest.approx(expected.numpy(), abs=1e-5)
    assert attacked.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert found.scores(test, context_in(tmp_path / "b", batch_size=7)) == pytest.approx(expected.numpy(), abs=1e-5)
    assert found.differentiable()[0] is found.network()


def test_nothing_is_held_out_where_the_reported_images_chose(tmp_path: Path) -> None:
    """`fidelity="paper"`."""
    context = context_in(tmp_path)
    shown = TrainingExamples(tiny.split(48), tiny.split(24, "test"), validation_is_reported=True)
    assert train_classifier(tiny.backbone(), shown, rates(1e-2), 0, context, {"id": "r"}).held_out(context) is None


def test_checkpoints_go_once_the_artefact_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before it is written."""
    seen: list[list[str]] = []
    write = type(context_in(tmp_path).artifacts)._write

    def noted(self: Any, path: Path, content: bytes) -> None:
        seen.append(sorted(p.name for p in (tmp_path / "checkpoints").rglob("*.pt")))
        write(self, path, content)

    monkeypatch.setattr(type(context_in(tmp_path).artifacts), "_write", noted)
    tuned(tmp_path, rates(*RATES))
    assert seen == [["finished.pt"]]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert len(tiny.network_artefacts(tmp_path)) == 1


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """What makes another artefact."""
    other = TrainingExamples(tiny.split(46), tiny.split(24, "val"))
    chosen = TrainingExamples(tiny.split(48), tiny.split(22, "val"))
    smaller = replace(rates(1e-2), transform=replace(tiny.TRANSFORM, crop_pct=0.9))
    yield from {
        "as it is": {}, "seed": {"seed": 1}, "recipe": {"recipe": {"id": "s"}}, "examples": {"examples": other},
        "validation": {"examples": chosen}, "steps": {"max_steps": 2}, "transform": {"classifier_config": smaller},
        "backbone": {"backbone": tiny.backbone(dropout=0.1)},
    }.items()  # fmt: skip


def test_what_changes_the_network_changes_its_artefact(tmp_path: Path) -> None:
    """And what does not, does not: processes, batches of evaluation."""
    for _, changes in variants():
        asked: dict[str, Any] = {
            "backbone": tiny.backbone(), "examples": tiny.examples(), "classifier_config": rates(1e-2), "seed": 0,
            "recipe": {"id": "r"}, "max_steps": None, **changes,
        }  # fmt: skip
        asked["context"] = context_in(tmp_path, max_steps=asked.pop("max_steps"))
        train_classifier(**asked)
    assert len(tiny.network_artefacts(tmp_path)) == 8
    tuned(tmp_path, rates(1e-2), batch_size=3, loader_processes=1)
    assert len(tiny.network_artefacts(tmp_path)) == 8


def test_steps_cut_short(tmp_path: Path) -> None:
    """Every run of the grid ends after two steps, is validated, and is no beaten one."""
    found = tuned(tmp_path, rates(*RATES[:2], stop_beaten=True), max_steps=2)
    assert [(each["steps"], each["epochs"], "stopped" in each) for each in found.facts["runs"]] == [(2, 1, False)] * 2
    assert len(found.facts["curve"]["validation"]) == 1


def diverging(monkeypatch: pytest.MonkeyPatch, *lrs: float) -> None:
    """The loss of the fourth step at these rates is NaN."""
    step = Trainer._step

    def spoilt(self: Trainer, batch: Any) -> torch.Tensor:
        return step(self, batch) * (torch.nan if self.config.lr in lrs and self.state.steps == 3 else 1)

    monkeypatch.setattr(Trainer, "_step", spoilt)


def test_a_run_whose_loss_is_no_number_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rate and step are on record; the others go on."""
    diverging(monkeypatch, RATES[0])
    found = tuned(tmp_path, rates(*RATES))
    reason = "the loss is not finite at step 4 (adamw lr 0.01, weight decay 0.05)"
    assert found.facts["runs"][0] == {"run": "adamw lr 0.01, weight decay 0.05", "diverged": reason}
    assert [each["steps"] for each in found.facts["runs"][1:]] == [6, 6]
    assert f"tiny: {reason}; the other runs continue" in caplog.text


def test_no_run_that_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names rate and step of each."""
    diverging(monkeypatch, *RATES[:2])
    with pytest.raises(BobError, match=r"tiny: every training run failed: .*step 4 \(adamw lr 0.01.*step 4 .*lr 0.003"):
        tuned(tmp_path, rates(*RATES[:2]))
    assert tiny.network_artefacts(tmp_path) == {}


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would count as wrong."""
    found = tuned(tmp_path, rates(1e-2))
    monkeypatch.setattr(Network, "forward", lambda self, images: torch.full((len(images), 3), torch.nan))
    with pytest.raises(BobError, match="tiny: the logits of test are NaN or infinite after training; check its"):
        found.scores(tiny.split(6, "test"), context_in(tmp_path))


def test_too_little_memory_is_a_fact_of_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[float]
) -> None:
    """The first run halves what goes through at once, the next begins with it; nothing else changes."""
    whole = tuned(tmp_path / "whole", rates(*RATES[:2]))
    del epochs[:]
    forward = Network.forward

    def limited(self: Network, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 4:
            raise torch.OutOfMemoryError("full")
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", limited)
    parts = tuned(tmp_path / "parts", rates(*RATES[:2]))
    assert epochs == [RATES[0]] * 4 + [RATES[1]] * 2
    assert (whole.facts["micro_batch"], parts.facts["micro_batch"]) == (16, 4)
    assert parts.facts["effective_batch"] == 16
    for name, tensor in tiny.weights(whole.network()).items():
        assert torch.allclose(tensor, tiny.weights(parts.network())[name], atol=1e-5), name


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    """The artefact of three runs with dropout that nothing interrupted."""
    interrupted(tmp_path / "undisturbed")
    return tiny.network_artefacts(tmp_path / "undisturbed")


def interrupted(folder: Path, **options: Any) -> TrainedClassifier:
    """The grid that is killed, and started again."""
    return tuned(folder, rates(*RATES, stop_beaten=True), tiny.backbone(dropout=0.3), **options)


def test_a_killed_process_goes_on_to_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], epochs: list[float]
) -> None:
    """kill -9 in the second epoch of the second run: that epoch and what comes after it is trained, no more."""
    folder = tmp_path / "killed"
    run_until_killed("tests.engine.training.test_classifier", folder, 4)
    del epochs[:]
    interrupted(folder)
    assert epochs == [RATES[1], RATES[2], RATES[2]]
    assert tiny.network_artefacts(folder) == undisturbed
    assert list((folder / "checkpoints").iterdir()) == []


class Killed(BaseException):
    """As sudden as a signal, for the process that tests."""


def dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """The function dies at a call, before or after it did its work."""
    function, calls = getattr(owner, name), [0]

    def dying(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Killed
        found = function(*args, **options)
        if calls[0] == call:
            raise Killed
        return found

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("owner", "name", "call", "after", "left"),
    [
        (Trainer, "_step", 1, False, 6),
        (Trainer, "save", 1, False, 6),
        (Trainer, "save", 1, True, 5),
        (Trainer, "save", 4, True, 2),
        (grid_search.GridSearch, "_save", 2, True, 2),
        (grid_search.GridSearch, "_save", 3, True, 0),
        (grid_search.GridSearch, "run", 1, True, 0),
    ],
)
def test_wherever_a_run_is_killed_the_artefact_is_the_same(
    owner: Any, name: str, call: int, after: bool, left: int,
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, epochs: list[float],
) -> None:  # fmt: skip
    """The epochs that are left are trained; one that was not saved is trained again."""
    with monkeypatch.context() as patch:
        dies(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            interrupted(tmp_path / "killed")
    del epochs[:]
    interrupted(tmp_path / "killed")
    assert len(epochs) == left
    assert tiny.network_artefacts(tmp_path / "killed") == undisturbed


def test_a_beaten_run_that_is_killed_stays_beaten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[float]
) -> None:
    """Between its last checkpoint and its record."""
    classifier_config = tiny.classifier_config(*(tiny.config(lr=lr, epochs=3) for lr in RATES[:2]), stop_beaten=True)
    scores = [(90.0, 0.0)] * 3 + [(10.0, 0.0)] * 2
    judged(monkeypatch, *scores)
    with monkeypatch.context() as patch:
        dies(patch, loop, "train", 2, after=True)
        with pytest.raises(Killed):
            tuned(tmp_path, classifier_config)
    judged(monkeypatch, (10.0, 0.0))
    assert tuned(tmp_path, classifier_config).facts["runs"][1]["epochs"] == 2
    assert len(epochs) == 5


def spoilt() -> TrainingExamples:
    """100 images, one of which cannot be read."""
    whole = tiny.split(100)

    def image(index: int) -> Image.Image:
        if index == 7:
            raise UnreadableImage("seven.png (truncated)")
        return whole.image(index)

    return TrainingExamples(replace(whole, image=image), tiny.split(24, "val"))


def unreadable(folder: Path) -> int:
    """The count of a grid of two runs, each of which meets all images."""
    classifier_config = tiny.classifier_config(*(tiny.config(lr=lr, epochs=1) for lr in RATES[:2]), batch=50)
    found: int = train_classifier(
        tiny.backbone(), spoilt(), classifier_config, 0, context_in(folder), {"id": "r"}
    ).facts["unreadable_images"]
    return found


def test_unreadable_images_are_counted_once(tmp_path: Path) -> None:
    """Both runs meet the same one."""
    assert unreadable(tmp_path) == 1


def test_unreadable_images_are_counted_after_a_kill_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the images are not met again."""
    with monkeypatch.context() as patch:
        dies(patch, grid_search.GridSearch, "_save", 2, after=True)
        with pytest.raises(Killed):
            unreadable(tmp_path)
    assert unreadable(tmp_path) == 1


def test_images_of_several_labels(tmp_path: Path) -> None:
    """They are judged by their mean AUC, and learned."""
    rows = np.eye(3, dtype=np.int64)
    sides = [replace(split, targets=rows[split.targets]) for split in (tiny.split(48), tiny.split(24, "val"))]
    classifier_config = tiny.classifier_config(tiny.config(epochs=6))
    found = train_classifier(
        tiny.backbone(), TrainingExamples(*sides), classifier_config, 0, context_in(tmp_path), {"id": "r"}
    )
    assert found.facts["judged"][0] > 80
    assert found.facts["curve"]["loss"][-1] < 0.75 * found.facts["curve"]["loss"][0] < 0.75


def test_progress_comes_to_its_total(tmp_path: Path) -> None:
    """Images x epochs x runs, also of a grid that goes on in the middle."""
    told: dict[str, list[int]] = {}

    class Told(Progress):
        """Remembers."""

        @contextmanager
        def step(self, what: str, total: int) -> Iterator[Any]:
            """See Progress."""
            yield told.setdefault(what, [total]).append

    with pytest.MonkeyPatch.context() as patch:
        dies(patch, Trainer, "save", 4)
        with pytest.raises(Killed):
            tuned(tmp_path, rates(*RATES))
    tuned(tmp_path, rates(*RATES), progress=Told())
    total, *counts = told["tiny: 3 training runs"]
    assert total == sum(counts) == 3 * 2 * 48


def test_each_seed_is_a_network_of_its_own(tmp_path: Path) -> None:
    """By its order, its draws, its head, and the images that were dealt to it."""
    context = context_in(tmp_path)
    patterns = tiny.dataset()
    found = [
        train_classifier(tiny.backbone(), training_examples(patterns, seed), rates(1e-2), seed, context, {"id": "r"})
        for seed in (0, 1, 0)
    ]
    assert not tiny.identical(tiny.weights(found[0].network()), tiny.weights(found[1].network()))
    assert tiny.identical(tiny.weights(found[0].network()), tiny.weights(found[2].network()))
    assert len(tiny.network_artefacts(tmp_path)) == 2


def test_the_arithmetic_is_named() -> None:
    """On a CPU mixed precision is none."""
    assert grid_search.numerics("cpu", amp=True) == grid_search.numerics("cpu", amp=False) == "cpu float32"
