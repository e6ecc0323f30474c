"""A training run: what a step does, by hand; checkpoints, a kill, too little memory, a loss that is no number."""

import logging
import math
import random
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bob_gauntlet.engine.training import loop
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.data_loader import create_image_loader
from bob_gauntlet.engine.training.loop import Diverged, Trainer, TrainingState
from bob_gauntlet.engine.training.loss import LabelLoss
from bob_gauntlet.engine.training.network import Network
from tests.helpers import tiny

RESTLESS: dict[str, Any] = {"mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1, "layer_decay": 0.75, "epochs": 4}
"""All that is drawn in a step, or depends on its number."""


def maker(config: TrainingConfig, *, frozen: bool = False, seed: int = 0) -> Callable[[], Trainer]:
    """Trainers of a network with dropout, from the same start each time."""

    def make() -> Trainer:
        network = Network(tiny.backbone(dropout=0.3), 3, tiny.TRANSFORM, frozen=frozen)
        network.initialise(seed)
        return tiny.trainer(config, network, seed=seed)

    return make


def validate(network: Network) -> tuple[float, float]:
    """Something that depends on the weights."""
    with torch.no_grad():
        total = float(network(torch.ones(1, 3, tiny.SIDE, tiny.SIDE)).square().sum())
    return 100 * total, -total


PLANS = {
    "adamw": tiny.config(**RESTLESS),
    "sgd": tiny.config(**{**RESTLESS, "layer_decay": None}, optimiser="sgd"),
    "lars": tiny.config(optimiser="lars", per_step=True, weight_decay=0.0, warmup_lr=0.0, min_lr=0.0, epochs=4),
    "best epoch": tiny.config(**RESTLESS, best_epoch=True),
}


@pytest.mark.parametrize("done", [1, 2, 3, 4])
@pytest.mark.parametrize("name", PLANS)
def test_a_run_goes_on_from_any_checkpoint_to_the_same_weights(name: str, done: int, tmp_path: Path) -> None:
    """Weights, curve and what validation said, bit for bit; only the epochs that were left are trained."""
    make = maker(PLANS[name], frozen=name == "lars")
    whole = loop.train(make, validate, tmp_path / "whole.pt")
    path = tmp_path / "broken.pt"
    loop.train(make, validate, path, is_beaten=lambda state: state.epoch == done)
    counted: list[int] = []
    resumed = loop.train(make, validate, path, counted.append)
    assert tiny.identical(tiny.weights(whole.network), tiny.weights(resumed.network))
    assert vars(whole.state).keys() == vars(resumed.state).keys()
    assert (whole.state.curve, whole.state.validation) == (resumed.state.curve, resumed.state.validation)
    assert (whole.state.epoch, whole.state.steps) == (resumed.state.epoch, resumed.state.steps) == (4, 12)
    # what was done before comes at once, then every batch
    assert counted == [done * 48, *[16] * (12 - 3 * done)]


@pytest.mark.parametrize("steps", [1, 2, 5, 7, 11])
def test_a_run_goes_on_from_the_middle_of_an_epoch(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved after every step and killed after some: weights and curve, with the mean loss, bit for bit."""
    make = maker(PLANS["adamw"])
    whole = loop.train(make, validate, tmp_path / "whole.pt")
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0.0)
    counted: list[int] = []

    def dying(count: int) -> None:
        counted.append(count)
        if len(counted) == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(make, validate, tmp_path / "broken.pt", dying)
    resumed = loop.train(make, validate, tmp_path / "broken.pt", counted.append)
    assert tiny.identical(tiny.weights(whole.network), tiny.weights(resumed.network))
    assert vars(whole.state) == vars(resumed.state)
    # what was done before comes at once, then every batch
    assert counted[steps:] == [steps * 16, *[16] * (12 - steps)]


def test_the_rate_falls_to_a_tenth_at_each_drop() -> None:
    """Up in 3 of 30 steps from 0, a tenth from the first step of epoch 5 on, a hundredth from epoch 8 on."""
    config = tiny.config(lr=1.0, epochs=10, drops=(5, 8), warmup_steps=1000, warmup_lr=0.0, per_step=True)
    expected = [0, 1 / 3, 2 / 3, *[1.0] * 12, *[0.1] * 9, *[0.01] * 6]
    assert [values[0] for values in rates(tiny.trainer(config))] == pytest.approx(expected, rel=1e-9)


def test_gradients_are_cut_to_a_norm() -> None:
    """A step of plain SGD with rate 1 moves the weights by the gradient: at most by `clip`."""
    moved, clip = [], 0.01
    for most in (None, clip):
        made = tiny.trainer(tiny.config(optimiser="sgd", lr=1.0, warmup_epochs=0, weight_decay=0.0, clip=most))
        for group in made.optimiser.param_groups:
            group.update(momentum=0.0, nesterov=False)
        before = tiny.weights(made.network)
        made._step(next(iter(made.loader.epoch(0))))
        after = tiny.weights(made.network)
        moved.append(math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in after)))
    assert moved[0] > 2 * clip
    assert moved[1] == pytest.approx(clip, rel=1e-3)


def test_seeds_and_plans_give_other_weights() -> None:
    """Dropout, mixup, the order: all of it is the seed's."""
    asked = [(0, {}), (1, {}), (0, {"mixup": 0.8}), (0, {"weight_decay": 0.5}), (0, {"lr": 1e-3})]
    found = [
        tiny.weights(loop.train(maker(tiny.config(**changes), seed=seed), validate, Path(f"{number}.pt")).network)
        for number, (seed, changes) in enumerate(asked)
    ]
    assert not any(tiny.identical(a, b) for i, a in enumerate(found) for b in found[:i])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative checkpoints land here."""
    monkeypatch.chdir(tmp_path)


def test_every_step_draws_anew() -> None:
    """torch and NumPy are seeded by seed, epoch and place: 18 steps of two seeds, no two alike."""
    found = []
    for seed in (0, 1):
        made = maker(tiny.config(), seed=seed)()
        step = made._step

        def noted(batch: Any, step: Any = step) -> torch.Tensor:
            found.append((torch.initial_seed(), int(np.random.get_state()[1][0])))
            return step(batch)

        made._step = noted  # type: ignore[method-assign]
        loop.train(lambda made=made: made, validate, Path(f"{seed}.pt"))  # type: ignore[misc]
    assert len({torchs for torchs, _ in found}) == len({numpys for _, numpys in found}) == len(found) == 18


def test_the_callers_random_state_stays_and_does_not_matter(tmp_path: Path) -> None:
    """Python's, NumPy's and torch's."""
    found = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        made = maker(PLANS["adamw"])()
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        trained = loop.train(lambda made=made: made, validate, tmp_path / f"{seed}.pt")  # type: ignore[misc]
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
        found.append(tiny.weights(trained.network))
    assert tiny.identical(*found)


def test_the_last_epoch_counts_or_the_best() -> None:
    """By scores of 10, 30, 30 and 20, the second of the equal ones with the lower loss."""
    scores = [(10.0, -9.0), (30.0, -2.0), (30.0, -1.0), (20.0, -9.0)]
    by_epoch: list[dict[str, torch.Tensor]] = []

    def told(network: Network) -> tuple[float, float]:
        assert not network.training
        by_epoch.append(tiny.weights(network))
        return scores[len(by_epoch) - 1]

    for best_epoch, expected in ((False, 3), (True, 2)):
        by_epoch.clear()
        made = loop.train(maker(tiny.config(epochs=4, best_epoch=best_epoch)), told, Path(f"{best_epoch}.pt"))
        assert made.state.validation == scores[expected]
        assert tiny.identical(tiny.weights(made.network), by_epoch[expected])
        assert made.state.curve["validation"] == [10, 30, 30, 20]
        assert not made.network.training


@pytest.mark.parametrize(("best_epoch", "scored"), [(False, [*range(1, 11), 13]), (True, list(range(1, 14)))])
def test_validation_is_scored_in_ten_epochs_and_the_last(best_epoch: bool, scored: list[int]) -> None:
    """Or in all, where the best one is sought; the loss stands beside it."""
    made = loop.train(maker(tiny.config(epochs=13, best_epoch=best_epoch)), validate, Path("run.pt"))
    assert made.state.curve["epoch"] == scored
    assert len(made.state.curve["validation"]) == len(made.state.curve["loss"]) == len(scored)


def test_training_teaches(tmp_path: Path) -> None:
    """The loss falls below half of where it began, which is that of guessing."""
    curve = loop.train(maker(tiny.config(epochs=10)), validate, tmp_path / "run.pt").state.curve["loss"]
    assert curve[0] == pytest.approx(math.log(3), abs=0.5)
    assert curve[-1] < curve[0] / 2


def test_max_steps_end_the_run() -> None:
    """Five steps of four epochs of three: the second epoch is cut short, and validated."""
    made = maker(tiny.config(epochs=4, max_steps=5))
    trained = loop.train(made, validate, Path("run.pt"))
    assert (trained.state.steps, trained.state.epoch, trained.state.curve["epoch"]) == (5, 2, [1, 2])
    assert loop.train(made, validate, Path("run.pt")).state.steps == 5
    # the schedule and the batches are those of the whole run
    whole = made()
    whole.train_epoch(lambda count: None)
    first = made()
    first.config = tiny.config(epochs=4)
    first.train_epoch(lambda count: None)
    assert tiny.identical(tiny.weights(whole.network), tiny.weights(first.network))


def test_beaten_ends_the_run() -> None:
    """It is asked before every epoch, so that a run which was killed once it was beaten ends there, too."""
    asked: list[int] = []

    def beaten(state: TrainingState) -> bool:
        asked.append(state.epoch)
        return state.epoch == 2

    made = loop.train(maker(tiny.config(epochs=4)), validate, Path("run.pt"), is_beaten=beaten)
    assert (asked, made.state.epoch) == ([0, 1, 2], 2)
    assert Path("run.pt").is_file()


def test_a_damaged_checkpoint_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    """With a warning, and to the same end; a file that would execute something is one."""
    path = Path("run.pt")
    whole = tiny.weights(loop.train(maker(tiny.config()), validate, path).network)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\x80\x04cos\nsystem\n."):
        path.write_bytes(damaged)
        caplog.clear()
        counted: list[int] = []
        again = loop.train(maker(tiny.config()), validate, path, counted.append)
        assert len(counted) == 9
        assert tiny.identical(whole, tiny.weights(again.network))
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "run.pt is damaged" in record.message


def test_a_folder_that_cannot_be_written_costs_the_checkpoint_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A file stands where the folder should be."""
    Path("taken").write_text("")
    made = loop.train(maker(tiny.config()), validate, Path("taken") / "run.pt")
    assert made.state.epoch == 3
    assert len(caplog.records) == 3
    assert f"cannot write {Path('taken') / 'run.pt'}" in caplog.text


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Network.forward fails above a number of images in training; the sizes that it was asked for."""
    forward = Network.forward
    asked: list[int] = []

    def limited(self: Network, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            asked.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError("full")
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", limited)
    return asked


def plain(**changes: Any) -> Callable[[], Trainer]:
    """Trainers of a network without dropout."""
    return lambda: tiny.trainer(tiny.config(**changes))


def test_too_little_memory_halves_what_goes_through_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """16, 8, then 4 images; the step is of 16 all the same, and its result that of 16 at once."""
    whole = loop.train(plain(smoothing=0.1, mixup=0.8), validate, Path("whole.pt"))
    asked = short_of_memory(monkeypatch, 4)
    parts = loop.train(plain(smoothing=0.1, mixup=0.8, micro_batch=128), validate, Path("parts.pt"))
    assert asked == [16, 8, *[4] * 36]
    assert parts.state.micro_batch == 4
    assert parts.state.steps == 9
    # AdamW divides by the gradient's size, which magnifies rounding where the gradient is next to none
    for name, tensor in tiny.weights(whole.network).items():
        assert torch.allclose(tensor, tiny.weights(parts.network)[name], atol=1e-5), name
    assert [r.message for r in caplog.records] == [
        f"out of memory: from now on at most {size} images go through the network at once" for size in (8, 4)
    ]


def test_memory_of_the_step_that_failed_is_free_before_the_next_network_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it runs out again."""
    forward = Network.forward
    results: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def limited(self: Network, images: torch.Tensor) -> torch.Tensor:
        found = forward(self, images)
        if self.training and len(images) > 8:
            results.append(weakref.ref(found))
            raise torch.OutOfMemoryError("full")
        return found

    def make() -> Trainer:
        alive.append(any(result() is not None for result in results))
        return plain(epochs=1)()

    monkeypatch.setattr(Network, "forward", limited)
    loop.train(make, validate, Path("run.pt"))
    assert alive == [False, False]


def test_memory_that_runs_out_later_costs_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The epochs before it are read from the checkpoint, and the parts stay small."""
    make = plain()
    loop.train(make, validate, Path("run.pt"), is_beaten=lambda state: state.epoch == 2)
    asked = short_of_memory(monkeypatch, 8)
    made = loop.train(make, validate, Path("run.pt"))
    assert asked == [16, *[8] * 6]
    assert loop.read_checkpoint(Path("run.pt"), "cpu")["state"]["micro_batch"] == made.state.micro_batch == 8  # type: ignore[index]


def test_too_little_memory_for_one_image_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 16, 8, 4, 2 and 1."""
    asked = short_of_memory(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        loop.train(plain(), validate, Path("run.pt"))
    assert asked == [16, 8, 4, 2, 1]


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts: int) -> None:
    """After a step of SGD, to 1e-6; the parts need not divide the batch."""
    found = []
    for micro_batch in (16, parts):
        made = tiny.trainer(tiny.config(optimiser="sgd", lr=1.0, smoothing=0.1, micro_batch=micro_batch))
        images, targets = next(iter(made.loader.epoch(0)))
        loss = made._step((images, targets))
        found.append((float(loss), tiny.weights(made.network)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert all(torch.allclose(tensor, found[1][1][name], atol=1e-6) for name, tensor in found[0][1].items())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """By its definition."""
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def a_batch(made: Trainer) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Images and targets of the first step, and what the network makes of a tensor, in float64."""
    images, targets = next(iter(made.loader.epoch(0)))
    return images, targets, np.eye(3)[targets.numpy()] if targets.ndim == 1 else targets.numpy().astype(float)


def predict_logits(made: Trainer, images: torch.Tensor) -> np.ndarray:
    """In float64."""
    with torch.no_grad():
        return made.network(images).double().numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_smoothed_cross_entropy(smoothing: float) -> None:
    """Each class has smoothing / 3 of the target, the true one the rest: the mean over the images."""
    made = tiny.trainer(tiny.config(smoothing=smoothing))
    images, targets, hot = a_batch(made)
    soft = hot * (1 - smoothing) + smoothing / 3
    expected = -(soft * log_softmax(predict_logits(made, images))).sum(axis=1).mean()
    assert float(made._step((images, targets))) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_mixed_images() -> None:
    """x <- l x + (1 - l) x upside down, targets likewise after smoothing; l from Beta(0.8, 0.8), one a batch."""
    made = tiny.trainer(tiny.config(mixup=0.8, smoothing=0.1))
    images, targets, hot = a_batch(made)
    np.random.seed(5)
    np.random.rand()  # whether to mix at all: always
    share = np.random.beta(0.8, 0.8)
    assert 0.05 < share < 0.95
    mixed = share * images + (1 - share) * images.flip(0)
    soft = hot * 0.9 + 0.1 / 3
    soft = share * soft + (1 - share) * soft[::-1]
    expected = -(soft * log_softmax(predict_logits(made, mixed))).sum(axis=1).mean()
    np.random.seed(5)
    assert float(made._step((images.clone(), targets))) == pytest.approx(expected, rel=1e-5)


def test_cutmix_pastes_a_rectangle() -> None:
    """The pixels of a mixed batch are of the image or of its partner, the targets of both by their shares."""
    made = tiny.trainer(tiny.config(cutmix=1.0))
    images, targets, hot = a_batch(made)
    np.random.seed(0)
    mixed, soft = made.loss_function.to_device((images.clone(), targets), "cpu")
    own, partner = mixed == images, mixed == images.flip(0)
    assert (own | partner).all()
    share = float(own[0].float().mean())
    assert 0 < share < 1
    assert soft.numpy() == pytest.approx(share * hot + (1 - share) * hot[::-1], abs=1e-6)


@pytest.mark.parametrize("mixup", [0.0, 0.8])
def test_the_loss_of_several_labels_is_logistic(mixup: float) -> None:
    """The mean over images and labels of -log p where the label is set, -log(1 - p) where not."""
    made = tiny.trainer(tiny.config(mixup=mixup, smoothing=0.0), multi_label=True)
    images = next(iter(made.loader.epoch(0)))[0]
    rows = (np.arange(48).reshape(16, 3) % 5 < 2).astype(np.int64)
    labels, mixed = rows.astype(float), images
    if mixup:
        np.random.seed(5)
        np.random.rand()
        share = np.random.beta(0.8, 0.8)
        labels, mixed = share * labels + (1 - share) * labels[::-1], share * images + (1 - share) * images.flip(0)
    p = 1 / (1 + np.exp(-predict_logits(made, mixed)))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
    np.random.seed(5)
    assert float(made._step((images.clone(), torch.from_numpy(rows)))) == pytest.approx(expected, rel=1e-5)


def rates(made: Trainer) -> list[list[float]]:
    """The rates of all parameter groups, step by step."""
    found: list[list[float]] = []
    step = made._step

    def noted(batch: Any) -> torch.Tensor:
        found.append([group["lr"] for group in made.optimiser.param_groups])
        return step(batch)

    made._step = noted  # type: ignore[method-assign]
    while not made.finished:
        made.train_epoch(lambda count: None)
    return found


def cosine(t: float, whole: float, top: float, low: float) -> float:
    """Loshchilov and Hutter, 2017, equation 5."""
    return low + 0.5 * (top - low) * (1 + math.cos(math.pi * t / whole))


def test_the_rate_by_epochs() -> None:
    """Up from 1e-4 in two epochs, then on the cosine of six, whose first two are left out; times the layer's scale."""
    backbone = tiny.timm_backbone("test_vit")
    network = Network(backbone, 3, backbone.identity.transform)
    loader = create_image_loader(tiny.split(4), backbone.identity.transform, tiny.CROPS, batch_size=2, seed=0)
    config = tiny.config(lr=1e-2, epochs=6, warmup_epochs=2, warmup_lr=1e-4, min_lr=1e-6, layer_decay=0.5)
    found = rates(Trainer(network, config, loader, LabelLoss(config, 3, multi_label=False), 0, "cpu"))
    expected = [1e-4, 1e-4 + (1e-2 - 1e-4) / 2, *[cosine(epoch, 6, 1e-2, 1e-6) for epoch in (2, 3, 4, 5)]]
    scales = [group.get("lr_scale", 1.0) for group in network.parameter_groups(0.05, 0.5)]
    assert len(set(scales)) == 7
    assert len(found) == 12
    for step, values in enumerate(found):
        assert values == pytest.approx([expected[step // 2] * scale for scale in scales], rel=1e-9)


def test_the_rate_by_steps() -> None:
    """Up from 0 in the 3 steps of an epoch, then on the cosine of 9."""
    config = tiny.config(lr=0.4, warmup_lr=0.0, min_lr=0.0, per_step=True)
    expected = [0.0, 0.4 / 3, 0.8 / 3, *[cosine(step, 9, 0.4, 0.0) for step in range(3, 9)]]
    assert [values[0] for values in rates(tiny.trainer(config))] == pytest.approx(expected, rel=1e-9)


def test_a_run_of_one_epoch_has_no_warm_up() -> None:
    """It would be nothing else."""
    assert rates(tiny.trainer(tiny.config(epochs=1, warmup_epochs=5)))[0] == pytest.approx([1e-2] * 4)


GRADIENTS = np.random.default_rng(0).normal(size=(3, 3, 16)), np.random.default_rng(1).normal(size=(3, 3))
"""Of the linear layer's weight and bias in three steps."""


def by_lars(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """A frozen network's linear layer after three steps of the trainer's optimiser with GRADIENTS."""
    network = Network(tiny.backbone(), 3, tiny.TRANSFORM, frozen=True)
    network.initialise(0)
    made = tiny.trainer(tiny.config(lr=rate, optimiser="lars", weight_decay=0.0, warmup_epochs=0), network)
    linear = network.head[-1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.bias.fill_(0.5)
    for weight, bias in zip(*GRADIENTS, strict=True):
        linear.weight.grad, linear.bias.grad = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        made.optimiser.step()
    return linear.weight.detach().numpy(), linear.bias.detach().numpy()


def you_et_al(start: np.ndarray, gradients: np.ndarray, rate: float, *, adapt: bool) -> np.ndarray:
    """You, Gitman and Ginsburg, 2017, algorithm 1: v <- 0.9 v + rate * 0.001 |w| / |g| * g, w <- w - v."""
    w, v = start.astype(float), np.zeros_like(start, float)
    for g in gradients:
        trust = 0.001 * np.linalg.norm(w) / np.linalg.norm(g) if adapt else 1.0
        v = 0.9 * v + rate * trust * g
        w = w - v
    return w


def test_lars_adapts_the_rate_of_the_weight() -> None:
    """The trust ratio applies though weight decay is 0, as in MAE's script."""
    start = Network(tiny.backbone(), 3, tiny.TRANSFORM, frozen=True)
    start.initialise(0)
    first = start.head[-1].weight.detach().numpy()  # type: ignore[union-attr, operator]
    assert by_lars(0.4)[0] == pytest.approx(you_et_al(first, GRADIENTS[0], 0.4, adapt=True), rel=1e-4, abs=1e-6)


def test_lars_leaves_the_rate_of_the_bias() -> None:
    """Momentum 0.9 alone."""
    assert by_lars(0.4)[1] == pytest.approx(you_et_al(np.full(3, 0.5), GRADIENTS[1], 0.4, adapt=False), rel=1e-4)


def test_sgd_has_nesterovs_momentum() -> None:
    """v <- 0.9 v + g, w <- w - rate (g + 0.9 v), of a bias, which does not decay."""
    network = Network(tiny.backbone(), 3, tiny.TRANSFORM)
    made = tiny.trainer(tiny.config(lr=0.4, optimiser="sgd", warmup_epochs=0), network)
    linear = network.head[-1]
    assert isinstance(linear, nn.Linear)
    w, v = linear.bias.detach().numpy().astype(float), np.zeros(3)
    for g in GRADIENTS[1]:
        linear.bias.grad = torch.from_numpy(g).float()
        made.optimiser.step()
        v = 0.9 * v + g
        w = w - 0.4 * (g + 0.9 * v)
    assert linear.bias.detach().numpy() == pytest.approx(w, rel=1e-4)


def test_a_loss_that_is_no_number_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the fifth step, which the message names beside the plan; the checkpoint of the first epoch stays."""
    loss, asked = LabelLoss.loss, []

    def spoilt(self: LabelLoss, network: Any, batch: Any, part: slice) -> torch.Tensor:
        asked.append(part)
        return loss(self, network, batch, part) * (math.inf if len(asked) == 5 else 1)

    monkeypatch.setattr(LabelLoss, "loss", spoilt)
    expected = r"^the loss is not finite at step 5 \(adamw lr 0.01, weight decay 0.05, layer decay 0.75\)$"
    with pytest.raises(Diverged, match=expected):
        loop.train(plain(layer_decay=0.75), validate, Path("run.pt"))
    assert loop.read_checkpoint(Path("run.pt"), "cpu")["state"]["steps"] == 3  # type: ignore[index]


def test_half_precision_is_a_gpus() -> None:
    """None on a CPU, whatever was asked for."""
    assert loop.half_precision("cpu") is None
    made = tiny.trainer(tiny.config(amp=True))
    assert made.half_dtype is None
    assert not made.scaler.is_enabled()
