"""A training run: steps computed by hand, checkpoints, a kill, too little memory, a loss that is not finite."""

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
from bob_gauntlet.engine.training.loop import Diverged, Trainer
from bob_gauntlet.engine.training.loss import LabelLoss
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.engine.training.state import TrainingState
from bob_gauntlet.errors import NotFiniteError
from tests.helpers import tiny

RANDOM_STEPS: dict[str, Any] = {"mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1, "layer_decay": 0.75, "epochs": 4}
"""Everything that is random in a step, or depends on its number."""


def trainer_factory(config: TrainingConfig, *, frozen: bool = False, seed: int = 0) -> Callable[[], Trainer]:
    """Return a function that makes trainers of a network with dropout; all trainers begin with the same weights."""

    def make() -> Trainer:
        network = Network(tiny.backbone(dropout=0.3), 3, tiny.TRANSFORM, frozen=frozen)
        network.initialise(seed)
        return tiny.trainer(config, network, seed=seed)

    return make


def validate(network: Network) -> tuple[float, float]:
    """Return a score and a tie-breaker that depend on the weights."""
    with torch.no_grad():
        total = float(network(torch.ones(1, 3, tiny.SIDE, tiny.SIDE)).square().sum())
    return 100 * total, -total


@pytest.fixture
def always_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run write a checkpoint after every step and every epoch, instead of every minute."""
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0.0)


CONFIGS = {
    "adamw": tiny.config(**RANDOM_STEPS),
    "sgd": tiny.config(**{**RANDOM_STEPS, "layer_decay": None}, optimiser="sgd"),
    "lars": tiny.config(optimiser="lars", per_step=True, weight_decay=0.0, warmup_lr=0.0, min_lr=0.0, epochs=4),
    "best epoch": tiny.config(**RANDOM_STEPS, best_epoch=True),
}


@pytest.mark.parametrize("done", [1, 2, 3, 4])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.usefixtures("always_saved")
def test_a_run_continues_from_any_checkpoint_to_the_same_weights(name: str, done: int, tmp_path: Path) -> None:
    """Weights, curve and validation scores are identical, and only the remaining epochs are trained."""
    make = trainer_factory(CONFIGS[name], frozen=name == "lars")
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


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 11, 12])
def test_a_run_continues_from_the_middle_of_an_epoch(steps: int, tmp_path: Path) -> None:
    """A run that is saved after every step and killed after some has identical weights, curve and mean loss.

    After 3 and 12 steps an epoch is trained and not validated.
    """
    make = trainer_factory(CONFIGS["adamw"])
    whole = loop.train(make, validate, tmp_path / "whole.pt")
    counted: list[int] = []

    def count_and_die(count: int) -> None:
        counted.append(count)
        if len(counted) == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(make, validate, tmp_path / "broken.pt", count_and_die)
    resumed = loop.train(make, validate, tmp_path / "broken.pt", counted.append)
    assert tiny.identical(tiny.weights(whole.network), tiny.weights(resumed.network))
    assert vars(whole.state) == vars(resumed.state)
    # what was done before comes at once, then every batch
    assert counted[steps:] == [steps * 16, *[16] * (12 - steps)]


def test_the_learning_rate_is_divided_by_10_at_each_drop() -> None:
    """It rises from 0 in 3 of 30 steps, is a tenth from epoch 5 on, and a hundredth from epoch 8 on."""
    config = tiny.config(lr=1.0, epochs=10, drops=(5, 8), warmup_steps=1000, warmup_lr=0.0, per_step=True)
    expected = [0, 1 / 3, 2 / 3, *[1.0] * 12, *[0.1] * 9, *[0.01] * 6]
    assert [values[0] for values in rates_by_step(tiny.trainer(config))] == pytest.approx(expected, rel=1e-9)


def test_gradients_are_clipped_to_a_norm() -> None:
    """A step of plain SGD with rate 1 changes the weights by the gradient, at most by `clip`."""
    changes, clip = [], 0.01
    for largest_norm in (None, clip):
        trainer = tiny.trainer(
            tiny.config(optimiser="sgd", lr=1.0, warmup_epochs=0, weight_decay=0.0, clip=largest_norm)
        )
        for group in trainer.optimiser.param_groups:
            group.update(momentum=0.0, nesterov=False)
        before = tiny.weights(trainer.network)
        trainer._step(next(iter(trainer.loader.epoch(0))))
        after = tiny.weights(trainer.network)
        changes.append(math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in after)))
    assert changes[0] > 2 * clip
    assert changes[1] == pytest.approx(clip, rel=1e-3)


def test_other_seeds_and_configurations_give_other_weights() -> None:
    """Each other seed, mixup, weight decay or learning rate gives other weights."""
    variants = [(0, {}), (1, {}), (0, {"mixup": 0.8}), (0, {"weight_decay": 0.5}), (0, {"lr": 1e-3})]
    weights = [
        tiny.weights(
            loop.train(trainer_factory(tiny.config(**changes), seed=seed), validate, Path(f"{number}.pt")).network
        )
        for number, (seed, changes) in enumerate(variants)
    ]
    assert not any(tiny.identical(a, b) for i, a in enumerate(weights) for b in weights[:i])


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tests in a temporary folder, where checkpoints with a relative path are written."""
    monkeypatch.chdir(tmp_path)


def test_every_step_has_other_random_numbers() -> None:
    """torch and NumPy are seeded by seed, epoch and position: no two of 18 steps with two seeds are equal."""
    step_seeds = []
    for seed in (0, 1):
        trainer = trainer_factory(tiny.config(), seed=seed)()
        step = trainer._step

        def record_seeds(batch: Any, step: Any = step) -> torch.Tensor:
            step_seeds.append((torch.initial_seed(), int(np.random.get_state()[1][0])))
            return step(batch)

        trainer._step = record_seeds  # type: ignore[method-assign]
        loop.train(lambda trainer=trainer: trainer, validate, Path(f"{seed}.pt"))  # type: ignore[misc]
    torch_seeds, numpy_seeds = ({seeds[place] for seeds in step_seeds} for place in (0, 1))
    assert len(torch_seeds) == len(numpy_seeds) == len(step_seeds) == 18


def test_the_callers_random_state_does_not_change_and_does_not_matter(tmp_path: Path) -> None:
    """A training neither changes nor uses the random state of Python, NumPy and torch."""
    weights = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        trainer = trainer_factory(CONFIGS["adamw"])()
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        trained = loop.train(lambda trainer=trainer: trainer, validate, tmp_path / f"{seed}.pt")  # type: ignore[misc]
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
        weights.append(tiny.weights(trained.network))
    assert tiny.identical(*weights)


def test_the_last_or_the_best_epoch_is_kept() -> None:
    """Of the scores 10, 30, 30 and 20, the best is the second 30, which has the lower loss."""
    scores = [(10.0, -9.0), (30.0, -2.0), (30.0, -1.0), (20.0, -9.0)]
    by_epoch: list[dict[str, torch.Tensor]] = []

    def validate_with_scores(network: Network) -> tuple[float, float]:
        assert not network.training
        by_epoch.append(tiny.weights(network))
        return scores[len(by_epoch) - 1]

    for best_epoch, expected in ((False, 3), (True, 2)):
        by_epoch.clear()
        trainer = loop.train(
            trainer_factory(tiny.config(epochs=4, best_epoch=best_epoch)),
            validate_with_scores,
            Path(f"{best_epoch}.pt"),
        )
        assert trainer.state.validation == scores[expected]
        assert tiny.identical(tiny.weights(trainer.network), by_epoch[expected])
        assert trainer.state.curve["validation"] == [10, 30, 30, 20]
        assert not trainer.network.training


@pytest.mark.parametrize(("best_epoch", "scored"), [(False, [*range(1, 11), 13]), (True, list(range(1, 14)))])
def test_validation_is_scored_in_ten_epochs_and_the_last(best_epoch: bool, scored: list[int]) -> None:
    """With `best_epoch` it is scored in all epochs. The curve has a loss for each score."""
    trainer = loop.train(trainer_factory(tiny.config(epochs=13, best_epoch=best_epoch)), validate, Path("run.pt"))
    assert trainer.state.curve["epoch"] == scored
    assert len(trainer.state.curve["validation"]) == len(trainer.state.curve["loss"]) == len(scored)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    """The loss begins at that of guessing and falls below half of it."""
    curve = loop.train(trainer_factory(tiny.config(epochs=10)), validate, tmp_path / "run.pt").state.curve["loss"]
    assert curve[0] == pytest.approx(math.log(3), abs=0.5)
    assert curve[-1] < curve[0] / 2


@pytest.mark.usefixtures("always_saved")
def test_max_steps_end_the_run() -> None:
    """With 5 steps and 3 steps an epoch, the second epoch ends early and is validated."""
    make = trainer_factory(tiny.config(epochs=4, max_steps=5))
    trained = loop.train(make, validate, Path("run.pt"))
    assert (trained.state.steps, trained.state.epoch, trained.state.curve["epoch"]) == (5, 2, [1, 2])
    assert loop.train(make, validate, Path("run.pt")).state.steps == 5
    # the schedule and the batches are those of a run without max_steps
    limited = make()
    limited.train_epoch(lambda count: None)
    unlimited = make()
    unlimited.config = tiny.config(epochs=4)
    unlimited.train_epoch(lambda count: None)
    assert tiny.identical(tiny.weights(limited.network), tiny.weights(unlimited.network))


@pytest.mark.usefixtures("always_saved")
def test_is_beaten_ends_the_run() -> None:
    """It is called before every epoch, so a run that was killed when it was beaten ends there, too."""
    epochs: list[int] = []

    def is_beaten(state: TrainingState) -> bool:
        epochs.append(state.epoch)
        return state.epoch == 2

    trainer = loop.train(trainer_factory(tiny.config(epochs=4)), validate, Path("run.pt"), is_beaten=is_beaten)
    assert (epochs, trainer.state.epoch) == ([0, 1, 2], 2)
    assert Path("run.pt").is_file()


@pytest.mark.usefixtures("always_saved")
def test_the_names_in_a_checkpoint_do_not_change() -> None:
    """The names of the training state in a checkpoint stay the same, so that older checkpoints are readable."""
    loop.train(trainer_factory(tiny.config(epochs=1)), validate, Path("run.pt"))
    content = loop.read_checkpoint(Path("run.pt"), "cpu")
    assert content is not None
    assert list(content["state"]) == ["epoch", "steps", "place", "losses", "micro_batch", "curve", "judged", "best"]


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize(
    "change",
    [
        {"network": None},
        {"network": {}},
        {"network": {"more": torch.zeros(1)}},
        {"network": {"body.1.weight": torch.zeros(1)}},
        {"optimiser": {}},
        {"optimiser": None},
        {"state": {"epoch": 1}},
        {"state": None},
        {"unreadable": 5},
    ],
    ids=str,
)
def test_with_a_checkpoint_of_something_else_the_run_starts_again(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A whole file that does not hold what a checkpoint holds is reported, and the weights are the same."""
    path = Path("run.pt")
    whole = tiny.weights(loop.train(trainer_factory(tiny.config()), validate, path).network)
    content = loop.read_checkpoint(path, "cpu")
    assert content is not None
    loop.write_checkpoint(path, {**content, **change})
    again = loop.train(trainer_factory(tiny.config()), validate, path)
    assert tiny.identical(whole, tiny.weights(again.network))
    [record] = caplog.records
    assert record.message.startswith("run.pt is damaged (")


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize(("name", "value"), [("epoch", "1"), ("steps", 1.5), ("losses", {}), ("curve", {"epoch": 1})])
def test_a_state_of_other_types_starts_the_run_again(
    name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong type in the training state is reported, and the weights are the same."""
    path = Path("run.pt")
    whole = tiny.weights(loop.train(trainer_factory(tiny.config()), validate, path).network)
    content = loop.read_checkpoint(path, "cpu")
    assert content is not None
    loop.write_checkpoint(path, {**content, "state": {**content["state"], name: value}})
    again = loop.train(trainer_factory(tiny.config()), validate, path)
    assert tiny.identical(whole, tiny.weights(again.network))
    [record] = caplog.records
    assert record.message.startswith(f"run.pt is damaged ({name}")


@pytest.mark.usefixtures("always_saved")
def test_with_a_damaged_checkpoint_the_run_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    """A warning is logged and the weights are the same; a file that would execute code counts as damaged."""
    path = Path("run.pt")
    whole = tiny.weights(loop.train(trainer_factory(tiny.config()), validate, path).network)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\x80\x04cos\nsystem\n."):
        path.write_bytes(damaged)
        caplog.clear()
        counted: list[int] = []
        again = loop.train(trainer_factory(tiny.config()), validate, path, counted.append)
        assert len(counted) == 9
        assert tiny.identical(whole, tiny.weights(again.network))
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "run.pt is damaged" in record.message


@pytest.mark.usefixtures("always_saved")
def test_a_run_continues_where_its_checkpoint_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """A file has the name of the checkpoint's folder: each save logs a warning, and the run ends as usual."""
    Path("taken").write_text("")
    trainer = loop.train(trainer_factory(tiny.config()), validate, Path("taken") / "run.pt")
    assert trainer.state.epoch == 3
    # after each of 9 steps and 3 validations
    assert len(caplog.records) == 12
    assert f"cannot write {Path('taken') / 'run.pt'}" in caplog.text


def limit_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let Network.forward fail above `most` images in training; return the list of its batch sizes."""
    forward = Network.forward
    batch_sizes: list[int] = []

    def limited(self: Network, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            batch_sizes.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError("full")
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", limited)
    return batch_sizes


def plain_trainer_factory(**changes: Any) -> Callable[[], Trainer]:
    """Return a function that makes trainers of a network without dropout."""
    return lambda: tiny.trainer(tiny.config(**changes))


def test_too_little_memory_halves_the_micro_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """16, 8, then 4 images go through at once; the step still has 16, with the result of 16 at once."""
    whole = loop.train(plain_trainer_factory(smoothing=0.1, mixup=0.8), validate, Path("whole.pt"))
    batch_sizes = limit_memory(monkeypatch, 4)
    parts = loop.train(plain_trainer_factory(smoothing=0.1, mixup=0.8, micro_batch=128), validate, Path("parts.pt"))
    assert batch_sizes == [16, 8, *[4] * 36]
    assert parts.state.micro_batch == 4
    assert parts.state.steps == 9
    # AdamW divides by the size of the gradient, which magnifies rounding where the gradient is almost 0
    for name, tensor in tiny.weights(whole.network).items():
        assert torch.allclose(tensor, tiny.weights(parts.network)[name], atol=1e-5), name
    assert [r.message for r in caplog.records] == [
        f"out of memory: from now on at most {size} images go through the network at once" for size in (8, 4)
    ]


def test_memory_of_the_step_that_failed_is_free_before_the_next_network_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The failed step's memory is free before another network is made; else memory would run out again."""
    forward = Network.forward
    results: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def limited(self: Network, images: torch.Tensor) -> torch.Tensor:
        logits = forward(self, images)
        if self.training and len(images) > 8:
            results.append(weakref.ref(logits))
            raise torch.OutOfMemoryError("full")
        return logits

    def make() -> Trainer:
        alive.append(any(result() is not None for result in results))
        return plain_trainer_factory(epochs=1)()

    monkeypatch.setattr(Network, "forward", limited)
    loop.train(make, validate, Path("run.pt"))
    assert alive == [False, False]


@pytest.mark.usefixtures("always_saved")
def test_only_the_epoch_in_which_memory_runs_out_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier epochs are read from the checkpoint, and the micro-batch stays small."""
    make = plain_trainer_factory()
    loop.train(make, validate, Path("run.pt"), is_beaten=lambda state: state.epoch == 2)
    batch_sizes = limit_memory(monkeypatch, 8)
    trainer = loop.train(make, validate, Path("run.pt"))
    assert batch_sizes == [16, *[8] * 6]
    assert loop.read_checkpoint(Path("run.pt"), "cpu")["state"]["micro_batch"] == trainer.state.micro_batch == 8  # type: ignore[index]


def test_without_a_checkpoint_the_run_starts_again_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out in the second epoch: the run is trained from its beginning, to the weights of an undisturbed one.

    Its curve has no epoch twice.
    """
    whole = loop.train(plain_trainer_factory(), validate, Path("whole.pt"))
    step, forwards = Trainer._step, []

    def fail_once_in_the_second_epoch(self: Trainer, batch: Any) -> torch.Tensor:
        forwards.append(self.state.steps)
        if forwards.count(4) == 1 and self.state.steps == 4:
            raise torch.OutOfMemoryError("full")
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_step", fail_once_in_the_second_epoch)
    trainer = loop.train(plain_trainer_factory(), validate, Path("run.pt"))
    assert forwards == [*range(5), *range(9)]
    assert trainer.state.curve["epoch"] == whole.state.curve["epoch"] == [1, 2, 3]
    assert trainer.state.micro_batch == 8
    for name, tensor in tiny.weights(whole.network).items():
        assert torch.allclose(tensor, tiny.weights(trainer.network)[name], atol=1e-5), name
    assert not Path("run.pt").exists()


@pytest.mark.parametrize(("seconds", "saved"), [(6.0, []), (7.0, [9]), (25.0, [3, 6, 9]), (61.0, [*range(1, 10)])])
def test_a_run_is_saved_every_minute(seconds: float, saved: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine steps of `seconds` each, in three epochs: a checkpoint is written when the last one is a minute old."""
    now, step, save, saved_after = [0.0], Trainer._step, Trainer.save, []

    def step_in_time(self: Trainer, batch: Any) -> torch.Tensor:
        now[0] += seconds
        return step(self, batch)

    def record(self: Trainer, path: Path) -> None:
        saved_after.append(self.state.steps)
        save(self, path)

    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Trainer, "_step", step_in_time)
    monkeypatch.setattr(Trainer, "save", record)
    loop.train(plain_trainer_factory(), validate, Path("run.pt"))
    assert saved_after == saved


def test_too_little_memory_for_one_image_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised after 16, 8, 4, 2 and 1 images were tried."""
    batch_sizes = limit_memory(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        loop.train(plain_trainer_factory(), validate, Path("run.pt"))
    assert batch_sizes == [16, 8, 4, 2, 1]


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts: int) -> None:
    """Loss and weights after a step of SGD are equal up to 1e-6, also if the parts do not divide the batch."""
    results = []
    for micro_batch in (16, parts):
        trainer = tiny.trainer(tiny.config(optimiser="sgd", lr=1.0, smoothing=0.1, micro_batch=micro_batch))
        images, targets = next(iter(trainer.loader.epoch(0)))
        loss = trainer._step((images, targets))
        results.append((float(loss), tiny.weights(trainer.network)))
    (whole_loss, whole_weights), (parts_loss, parts_weights) = results
    assert whole_loss == pytest.approx(parts_loss, rel=1e-6)
    assert all(torch.allclose(tensor, parts_weights[name], atol=1e-6) for name, tensor in whole_weights.items())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of softmax, computed by its definition."""
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def first_batch(trainer: Trainer) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return images and targets of the first step, and the targets as one-hot rows in float64."""
    images, targets = next(iter(trainer.loader.epoch(0)))
    return images, targets, np.eye(3)[targets.numpy()] if targets.ndim == 1 else targets.numpy().astype(float)


def predict_logits(trainer: Trainer, images: torch.Tensor) -> np.ndarray:
    """Return the network's logits in float64."""
    with torch.no_grad():
        return trainer.network(images).double().numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_smoothed_cross_entropy(smoothing: float) -> None:
    """The target of each class is smoothing / 3, plus the rest for the true class; the loss is a mean over images."""
    trainer = tiny.trainer(tiny.config(smoothing=smoothing))
    images, targets, hot = first_batch(trainer)
    soft = hot * (1 - smoothing) + smoothing / 3
    expected = -(soft * log_softmax(predict_logits(trainer, images))).sum(axis=1).mean()
    assert float(trainer._step((images, targets))) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_mixed_images() -> None:
    """x <- l x + (1 - l) x in reverse order, and likewise the smoothed targets; l is from Beta(0.8, 0.8), per batch."""
    trainer = tiny.trainer(tiny.config(mixup=0.8, smoothing=0.1))
    images, targets, hot = first_batch(trainer)
    np.random.seed(5)
    np.random.rand()  # timm draws whether to mix at all; it always does
    share = np.random.beta(0.8, 0.8)
    assert 0.05 < share < 0.95
    mixed = share * images + (1 - share) * images.flip(0)
    soft = hot * 0.9 + 0.1 / 3
    soft = share * soft + (1 - share) * soft[::-1]
    expected = -(soft * log_softmax(predict_logits(trainer, mixed))).sum(axis=1).mean()
    np.random.seed(5)
    assert float(trainer._step((images.clone(), targets))) == pytest.approx(expected, rel=1e-5)


def test_cutmix_pastes_a_rectangle() -> None:
    """Each pixel comes from the image or from its partner, and the targets are mixed by their shares."""
    trainer = tiny.trainer(tiny.config(cutmix=1.0))
    images, targets, hot = first_batch(trainer)
    np.random.seed(0)
    mixed, soft = trainer.loss_function.to_device((images.clone(), targets), "cpu")
    from_image, from_partner = mixed == images, mixed == images.flip(0)
    assert (from_image | from_partner).all()
    share = float(from_image[0].float().mean())
    assert 0 < share < 1
    assert soft.numpy() == pytest.approx(share * hot + (1 - share) * hot[::-1], abs=1e-6)


@pytest.mark.parametrize("mixup", [0.0, 0.8])
def test_the_loss_of_several_labels_is_logistic(mixup: float) -> None:
    """It is the mean over images and labels of -log p where the label is set, else of -log(1 - p)."""
    trainer = tiny.trainer(tiny.config(mixup=mixup, smoothing=0.0), multi_label=True)
    images = next(iter(trainer.loader.epoch(0)))[0]
    rows = (np.arange(48).reshape(16, 3) % 5 < 2).astype(np.int64)
    labels, mixed = rows.astype(float), images
    if mixup:
        np.random.seed(5)
        np.random.rand()
        share = np.random.beta(0.8, 0.8)
        labels, mixed = share * labels + (1 - share) * labels[::-1], share * images + (1 - share) * images.flip(0)
    p = 1 / (1 + np.exp(-predict_logits(trainer, mixed)))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
    np.random.seed(5)
    assert float(trainer._step((images.clone(), torch.from_numpy(rows)))) == pytest.approx(expected, rel=1e-5)


def rates_by_step(trainer: Trainer) -> list[list[float]]:
    """Train to the end and return the learning rates of all parameter groups in each step."""
    rates: list[list[float]] = []
    step = trainer._step

    def record_rates(batch: Any) -> torch.Tensor:
        rates.append([group["lr"] for group in trainer.optimiser.param_groups])
        return step(batch)

    trainer._step = record_rates  # type: ignore[method-assign]
    while not trainer.finished:
        trainer.train_epoch(lambda count: None)
    return rates


def cosine(t: float, whole: float, top: float, low: float) -> float:
    """Return the learning rate of Loshchilov and Hutter, 2017, equation 5."""
    return low + 0.5 * (top - low) * (1 + math.cos(math.pi * t / whole))


def test_the_learning_rate_by_epochs() -> None:
    """It rises from 1e-4 in two epochs, then follows epochs 2 to 5 of a cosine of six; each layer has its scale."""
    backbone = tiny.timm_backbone("test_vit")
    network = Network(backbone, 3, backbone.identity.transform)
    loader = create_image_loader(tiny.split(4), backbone.identity.transform, tiny.CROPS, batch_size=2, seed=0)
    config = tiny.config(lr=1e-2, epochs=6, warmup_epochs=2, warmup_lr=1e-4, min_lr=1e-6, layer_decay=0.5)
    rates = rates_by_step(Trainer(network, config, loader, LabelLoss(config, 3, multi_label=False), 0, "cpu"))
    expected = [1e-4, 1e-4 + (1e-2 - 1e-4) / 2, *[cosine(epoch, 6, 1e-2, 1e-6) for epoch in (2, 3, 4, 5)]]
    scales = [group.get("lr_scale", 1.0) for group in network.parameter_groups(0.05, 0.5)]
    assert len(set(scales)) == 7
    assert len(rates) == 12
    for step, values in enumerate(rates):
        assert values == pytest.approx([expected[step // 2] * scale for scale in scales], rel=1e-9)


def test_the_learning_rate_by_steps() -> None:
    """It rises from 0 in the 3 steps of an epoch, then follows a cosine of 9 steps."""
    config = tiny.config(lr=0.4, warmup_lr=0.0, min_lr=0.0, per_step=True)
    expected = [0.0, 0.4 / 3, 0.8 / 3, *[cosine(step, 9, 0.4, 0.0) for step in range(3, 9)]]
    assert [values[0] for values in rates_by_step(tiny.trainer(config))] == pytest.approx(expected, rel=1e-9)


def test_a_run_of_one_epoch_has_no_warm_up() -> None:
    """A run of one epoch would otherwise consist of its warm-up."""
    assert rates_by_step(tiny.trainer(tiny.config(epochs=1, warmup_epochs=5)))[0] == pytest.approx([1e-2] * 4)


GRADIENTS = np.random.default_rng(0).normal(size=(3, 3, 16)), np.random.default_rng(1).normal(size=(3, 3))
"""Gradients of the linear layer's weight and bias in three steps."""


def train_with_lars(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of a frozen network's linear layer after three steps with GRADIENTS."""
    network = Network(tiny.backbone(), 3, tiny.TRANSFORM, frozen=True)
    network.initialise(0)
    trainer = tiny.trainer(tiny.config(lr=rate, optimiser="lars", weight_decay=0.0, warmup_epochs=0), network)
    linear = network.head[-1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.bias.fill_(0.5)
    for weight, bias in zip(*GRADIENTS, strict=True):
        linear.weight.grad, linear.bias.grad = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        trainer.optimiser.step()
    return linear.weight.detach().numpy(), linear.bias.detach().numpy()


def expected_lars(start: np.ndarray, gradients: np.ndarray, rate: float, *, adapt: bool) -> np.ndarray:
    """Return the result of algorithm 1 of You, Gitman and Ginsburg, 2017.

    v <- 0.9 v + rate * 0.001 |w| / |g| * g, w <- w - v; without `adapt`, the factor 0.001 |w| / |g| is 1.
    """
    w, v = start.astype(float), np.zeros_like(start, float)
    for g in gradients:
        trust = 0.001 * np.linalg.norm(w) / np.linalg.norm(g) if adapt else 1.0
        v = 0.9 * v + rate * trust * g
        w = w - v
    return w


def test_lars_adapts_the_rate_of_the_weight() -> None:
    """The trust ratio is used although weight decay is 0, as in MAE's script."""
    start = Network(tiny.backbone(), 3, tiny.TRANSFORM, frozen=True)
    start.initialise(0)
    first = start.head[-1].weight.detach().numpy()  # type: ignore[union-attr, operator]
    assert train_with_lars(0.4)[0] == pytest.approx(
        expected_lars(first, GRADIENTS[0], 0.4, adapt=True), rel=1e-4, abs=1e-6
    )


def test_lars_does_not_adapt_the_rate_of_the_bias() -> None:
    """The bias has only momentum 0.9."""
    assert train_with_lars(0.4)[1] == pytest.approx(
        expected_lars(np.full(3, 0.5), GRADIENTS[1], 0.4, adapt=False), rel=1e-4
    )


def test_sgd_has_nesterovs_momentum() -> None:
    """A bias, which does not decay, follows v <- 0.9 v + g, w <- w - rate (g + 0.9 v)."""
    network = Network(tiny.backbone(), 3, tiny.TRANSFORM)
    trainer = tiny.trainer(tiny.config(lr=0.4, optimiser="sgd", warmup_epochs=0), network)
    linear = network.head[-1]
    assert isinstance(linear, nn.Linear)
    w, v = linear.bias.detach().numpy().astype(float), np.zeros(3)
    for g in GRADIENTS[1]:
        linear.bias.grad = torch.from_numpy(g).float()
        trainer.optimiser.step()
        v = 0.9 * v + g
        w = w - 0.4 * (g + 0.9 * v)
    assert linear.bias.detach().numpy() == pytest.approx(w, rel=1e-4)


@pytest.mark.usefixtures("always_saved")
def test_a_loss_that_is_not_finite_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the fifth step and the configuration; the checkpoint before that step stays."""
    loss, parts = LabelLoss.loss, []

    def infinite_fifth_loss(self: LabelLoss, network: Any, batch: Any, part: slice) -> torch.Tensor:
        parts.append(part)
        return loss(self, network, batch, part) * (math.inf if len(parts) == 5 else 1)

    monkeypatch.setattr(LabelLoss, "loss", infinite_fifth_loss)
    expected = r"^the loss is not finite at step 5 \(adamw lr 0.01, weight decay 0.05, layer decay 0.75\)$"
    with pytest.raises(Diverged, match=expected):
        loop.train(plain_trainer_factory(layer_decay=0.75), validate, Path("run.pt"))
    assert loop.read_checkpoint(Path("run.pt"), "cpu")["state"]["steps"] == 4  # type: ignore[index]


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("best_epoch", [False, True])
@pytest.mark.parametrize(
    ("validation", "reason"),
    [
        ((math.nan, -1.0), "the validation score is not finite after epoch 2"),
        ((math.inf, -1.0), "the validation score is not finite after epoch 2"),
        ((50.0, math.nan), "the validation score is not finite after epoch 2"),
        (NotFiniteError("the logits of 3 of 4 examples are NaN"), "the output for validation images is not finite"),
    ],
)
def test_a_validation_that_is_not_finite_ends_the_run(validation: Any, reason: str, best_epoch: bool) -> None:
    """The run has diverged, also where an earlier epoch was good; the message names epoch and configuration."""
    scores = iter([(60.0, -1.0), validation])

    def validate_once(network: Network) -> tuple[float, float]:
        score = next(scores)
        if isinstance(score, Exception):
            raise score
        return score

    with pytest.raises(Diverged, match=rf"^{reason}.* \(adamw lr 0.01, weight decay 0.05\)$"):
        loop.train(plain_trainer_factory(best_epoch=best_epoch), validate_once, Path("run.pt"))
    # the checkpoint of the first epoch stays, so that the run would diverge again in the same epoch
    assert loop.read_checkpoint(Path("run.pt"), "cpu")["state"]["epoch"] == 1  # type: ignore[index]


def test_a_loss_too_large_for_its_precision_is_no_divergence() -> None:
    """The tie-breaker of finite logits may be -infinity: such a run is only the worst of those with its score."""
    trainer = loop.train(plain_trainer_factory(), lambda network: (50.0, -math.inf), Path("run.pt"))
    assert trainer.state.validation == (50.0, -math.inf)


def test_a_cpu_has_no_half_precision() -> None:
    """On a CPU half precision is off, also with `amp`."""
    assert loop.half_precision("cpu") is None
    trainer = tiny.trainer(tiny.config(amp=True))
    assert trainer.half_dtype is None
    assert not trainer.scaler.is_enabled()
