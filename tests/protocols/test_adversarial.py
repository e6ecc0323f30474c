"""The attack end to end, compared with its definition in NumPy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.loading import limit_dataset, round_robin_indices
from bob_gauntlet.engine import attacks
from bob_gauntlet.engine.attacks import pgd
from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.runtime.progress import Progress
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_splits import classification_dataset, pixel_backbone

HEAD = LinearProbe(strengths=(0.1,))
# the synthetic classes lie some 20/255 apart in each of 12 pixel values
RECIPE = Adversarial(HEAD, epsilon_255=6)


def measure(
    folder: Path, recipe: Any = RECIPE, dataset: Dataset | None = None, backbone: Backbone | None = None, **options: Any
) -> dict[str, Measured]:
    """Return metric -> what was measured, by default on the synthetic dataset and backbone."""
    measured = recipe.evaluate(
        backbone or pixel_backbone(), dataset or classification_dataset()[0], context_in(folder, **options)
    )
    return {m.metric: m for m in measured}


def backbone_through(forward: Callable[[torch.Tensor], torch.Tensor]) -> Backbone:
    """Return the synthetic backbone whose (B, 12) features pass through a function."""

    class Network(nn.Module):
        """A network with one parameter, so that there is something to freeze."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Return (B, 12) features of (B, 3, 2, 2) images."""
            return forward(self.scale * images.flatten(1))

    whole = pixel_backbone()
    return Backbone(whole.spec, Network(), whole.identity)


def survives_reference_attack(images: np.ndarray, targets: np.ndarray, head: Any, epsilon: float) -> np.ndarray:
    """Return (N,) bool: whether images are classified rightly after 20 steps in float64.

    The gradient of softmax regression is W (p - one-hot) / std.
    """
    start = images.transpose(0, 3, 1, 2).reshape(len(images), 12) / 255
    weight = head.weight / head.scale[:, None]
    x = start.copy()
    for _ in range(20):
        logits = (2 * x - 1 - head.mean) @ weight + head.bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        slope = (p / p.sum(axis=1, keepdims=True) - np.eye(6)[targets]) @ weight.T
        x = np.clip(np.clip(x + epsilon / 5 * np.sign(slope), start - epsilon, start + epsilon), 0, 1)
    return np.asarray(((2 * x - 1 - head.mean) @ weight + head.bias).argmax(axis=1) == targets)


def test_it_is_projected_gradient_descent(tmp_path: Path) -> None:
    """Each image is right or wrong under attack as in NumPy, and the clean predictions are the linear probe's."""
    dataset, examples = classification_dataset()
    measured = measure(tmp_path)
    probe = HEAD.classifiers(pixel_backbone(), dataset, context_in(tmp_path))[0].probe
    right = survives_reference_attack(*examples["test"], probe.head, 6 / 255)
    assert np.mean(measured["top1"].values == 100 * right) >= 95 / 96  # one tie may be broken differently
    assert 10 < measured["top1"].value < measured["top1_clean"].value - 10
    clean = next(HEAD.evaluate(pixel_backbone(), dataset, context_in(tmp_path)))
    assert measured["top1_clean"].values == pytest.approx(clean.values)


# measured with version 1; the test above compares the recipe with its definition on this data. One image of 96 is
# 1.05 points.
def test_it_gives_the_golden_value(tmp_path: Path) -> None:
    """Both accuracies have the stored values, to one image."""
    measured = measure(tmp_path)
    assert list(measured) == ["top1", "top1_clean"]
    assert measured["top1"].value == pytest.approx(100 * 44 / 96, abs=1.05), "the value changed: raise the version"
    assert measured["top1_clean"].value == pytest.approx(100 * 63 / 96, abs=1.05), (
        "the value changed: raise the version"
    )


def test_a_score_says_what_was_done(tmp_path: Path) -> None:
    """A score has ids, clusters, and the details of the attack and of the head."""
    dataset, _ = classification_dataset()
    test = replace(dataset["test"], clusters=tuple("ab" * 48))
    measured = measure(tmp_path, dataset=replace(dataset, splits={**dataset.splits, "test": test}))
    for metric in ("top1", "top1_clean"):
        one = measured[metric]
        assert one.values is not None
        assert set(one.values.tolist()) == {0.0, 100.0}
        assert one.values.mean() == pytest.approx(one.value)
        assert (one.examples, one.clusters) == (test.ids, test.clusters)
        assert {
            "epsilon_255": 6, "steps": 20, "step_size_255": pytest.approx(1.2),
            "success": "last", "random_start": False, "images": 96, "zero_gradient_images": 0, "strength": [0.1],
            "seeds": [0],
        }.items() <= one.details.items()  # fmt: skip
    assert measured["top1_clean"].details["chance"] == pytest.approx(100 / 6)
    assert "chance" not in measured["top1"].details, "accuracy under attack can fall below the chance level"


def test_without_room_the_attack_changes_nothing(tmp_path: Path) -> None:
    """With epsilon 0 the attack changes no prediction, even from a random start."""
    measured = measure(tmp_path, Adversarial(HEAD, epsilon_255=0, random_start=True))
    assert np.array_equal(measured["top1"].values, measured["top1_clean"].values)  # type: ignore[arg-type]
    assert measured["top1"].value > 30


def test_more_room_is_worse(tmp_path: Path) -> None:
    """Top-1 falls as epsilon grows, down to 0."""
    values = [measure(tmp_path, Adversarial(HEAD, epsilon_255=e))["top1"].value for e in (0, 3, 6, 60)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4
    assert values[-1] == 0


def test_each_seed_s_own_head_is_attacked(tmp_path: Path) -> None:
    """Values are means over the heads of the seeds, and seed 0 alone has its own value again."""
    recipe = Adversarial(LinearProbe(strengths=(1.0, 0.1, 0.001)), epsilon_255=6)
    dataset, examples = classification_dataset()
    several = measure(tmp_path, recipe, seeds=(0, 1, 2))["top1"]
    probes = [
        c.probe for c in recipe.head.classifiers(pixel_backbone(), dataset, context_in(tmp_path, seeds=(0, 1, 2)))
    ]
    assert len({probe.head.strength for probe in probes}) > 1
    expected = np.stack([100.0 * survives_reference_attack(*examples["test"], probe.head, 6 / 255) for probe in probes])
    assert several.values == pytest.approx(expected.mean(axis=0), abs=1e-3)
    assert several.details["by_seed"] == pytest.approx(expected.mean(axis=1).tolist(), abs=1e-3)
    assert several.value == pytest.approx(expected.mean())
    assert measure(tmp_path, recipe)["top1"].value == pytest.approx(several.details["by_seed"][0])


def test_a_random_start_is_the_seed_s(tmp_path: Path) -> None:
    """A seed always gives the same random start, and another seed gives another one."""
    recipe = Adversarial(HEAD, epsilon_255=40, steps=0, random_start=True)
    values = [measure(tmp_path, recipe, seeds=(seed,))["top1"].values for seed in (0, 0, 1)]
    assert np.array_equal(values[0], values[1])  # type: ignore[arg-type]
    assert not np.array_equal(values[0], values[2])  # type: ignore[arg-type]


@pytest.mark.parametrize("random_start", [False, True])
def test_no_score_depends_on_the_batch_size(random_start: bool, tmp_path: Path) -> None:
    """Batches of 1, 7 or 96 images give the same values."""
    recipe = replace(RECIPE, random_start=random_start)
    one, seven, all_ = (measure(tmp_path, recipe, batch_size=size) for size in (1, 7, 96))
    for metric in ("top1", "top1_clean"):
        assert np.array_equal(one[metric].values, all_[metric].values)  # type: ignore[arg-type]
        assert np.array_equal(seven[metric].values, all_[metric].values)  # type: ignore[arg-type]


def test_any_iterate_is_never_better_than_the_last(tmp_path: Path) -> None:
    """No image is right with success "any" and wrong with "last"; a wavy backbone makes the two differ."""
    wavy = backbone_through(lambda x: x + 0.1 * torch.sin(200 * x))
    last, any_ = (
        measure(tmp_path / success, replace(RECIPE, success=success), backbone=wavy)["top1"]
        for success in ("last", "any")
    )
    assert last.values is not None
    assert any_.values is not None
    assert (any_.values <= last.values).all()
    assert any_.value < last.value
    assert any_.details["success"] == "any"


def test_the_first_images_go_in_rounds_over_the_classes(tmp_path: Path) -> None:
    """The attacked images are equally many of each class, in order, and the clean score is of the same images."""
    dataset, _ = classification_dataset()
    order = np.argsort(dataset["test"].targets, kind="stable")
    test = dataset["test"].take(order, "by class")
    measured = measure(
        tmp_path, replace(RECIPE, images=12), dataset=replace(dataset, splits={**dataset.splits, "test": test})
    )
    expected = tuple(test.ids[16 * label + i] for label in range(6) for i in (0, 1))
    assert measured["top1"].examples == measured["top1_clean"].examples == expected
    assert measured["top1"].details["images"] == 12
    whole = measure(tmp_path)
    values = dict(zip(whole["top1"].examples or (), whole["top1"].values, strict=True))  # type: ignore[arg-type]
    assert measured["top1"].values == pytest.approx([values[name] for name in expected])


@pytest.mark.parametrize("count", [1, 5, 6, 13, 96, 500])
def test_rounds_are_those_of_a_limit(count: int) -> None:
    """The attacked images are those that `--bob-limit` keeps, where it keeps all classes."""
    dataset, _ = classification_dataset()
    targets = np.random.default_rng(0).permutation(dataset["test"].targets) * 3
    split = replace(dataset["test"], targets=targets)
    kept = limit_dataset(replace(dataset, splits={"train": split, "test": split}), max(count, 12))["test"]
    first_images = split.take(round_robin_indices(targets, count), "")
    if count >= 12:
        assert first_images.ids == kept.ids
    assert len(first_images) == min(count, 96)
    assert len(set(first_images.targets.tolist())) == min(count, 6)


def test_an_input_written_over_changes_nothing(tmp_path: Path) -> None:
    """A backbone that changes its input in place has the scores of one that does not."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2).clamp_(-1.5, 1.5)

    clean = backbone_through(lambda x: (2 * x).clamp(-1.5, 1.5))
    one, other = (measure(tmp_path / str(i), backbone=b) for i, b in enumerate((clean, backbone_through(forward))))
    assert np.array_equal(one["top1"].values, other["top1"].values)  # type: ignore[arg-type]
    assert 0 < one["top1"].value < one["top1_clean"].value


def overwrite_input(x: torch.Tensor) -> torch.Tensor:
    """Return x ** 2 and overwrite x, which the backward pass needs, so that torch raises an error."""
    squared = x**2
    x.add_(1)
    return squared


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda x: x.detach(), "forward returns a result without a gradient"),
        (lambda x: torch.from_numpy(x.detach().numpy().copy()), "forward returns a result without a gradient"),
        (lambda x: torch.from_numpy(x.numpy() + 0), "Can't call numpy"),
        (overwrite_input, "modified by an inplace operation"),
    ],
    ids=["detach", "NumPy copy", "NumPy", "in place"],
)
def test_a_backbone_without_a_gradient_is_named(forward: Any, reason: str, tmp_path: Path) -> None:
    """The error says in one line what to do, and the network keeps its state."""
    backbone = backbone_through(forward)
    with (
        torch.no_grad(),
        pytest.raises(BobError, match=f"^pixels cannot be attacked: .*{reason}.*has to use torch alone") as caught,
    ):
        measure(tmp_path, backbone=backbone)
    assert "\n" not in str(caught.value)
    assert all(p.requires_grad for p in backbone.module.parameters())


def test_epsilon_and_step_are_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 20 steps of epsilon / 5 (paper 5), and an image without gradient for one of two heads is counted."""
    calls: list[tuple[float, float, int]] = []

    def note_call(*arguments: Any, **options: Any) -> attacks.AttackResult:
        calls.append((arguments[3], options["step_size"], options["steps"]))
        result = pgd(*arguments, **options)
        return replace(result, zero_gradient=torch.arange(96) < len(calls))

    monkeypatch.setattr(attacks, "pgd", note_call)
    measured = measure(tmp_path, Adversarial(HEAD, epsilon_255=2), seeds=(0, 1), batch_size=96)
    np.testing.assert_allclose(calls, [(2 / 255, 2 / 1275, 20)] * 2, rtol=1e-9)
    assert measured["top1"].details["zero_gradient_images"] == 2


def test_too_little_memory_is_no_missing_gradient(tmp_path: Path) -> None:
    """An out-of-memory error passes unchanged, and of other errors the first line is shown."""

    def failing(error: Exception) -> Backbone:
        def forward(x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                raise error
            return x

        return backbone_through(forward)

    with pytest.raises(torch.OutOfMemoryError):
        measure(tmp_path, backbone=failing(torch.OutOfMemoryError("full")))
    with pytest.raises(BobError, match=r"\(first\); its forward"):
        measure(tmp_path, backbone=failing(RuntimeError("first\nsecond")))


def test_a_gradient_of_zero_is_counted(tmp_path: Path) -> None:
    """Rounded features cannot be attacked: the score is the clean one, and the details count these images."""
    measured = measure(tmp_path, backbone=backbone_through(lambda x: (8 * x).round() / 8))
    assert measured["top1"].details["zero_gradient_images"] == 96
    assert np.array_equal(measured["top1"].values, measured["top1_clean"].values)  # type: ignore[arg-type]


def test_a_gradient_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    """A NaN gradient is an error, since its sign is 0 and the images would count as robust."""
    with pytest.raises(BobError, match=r"pixels cannot be attacked: .* \(it is NaN\)"):
        measure(tmp_path, backbone=backbone_through(lambda x: x + (0 * x).sqrt()))


@pytest.mark.parametrize("success", ["last", "any"])
def test_images_of_nan_under_attack_are_broken(success: Any, tmp_path: Path) -> None:
    """Logits that are NaN only under attack count as wrong and are counted; the clean score is as usual."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        level = 127.5 * x + 127.5
        return torch.where((level - level.round()).abs() < 0.01, x, torch.nan)

    recipe = replace(RECIPE, steps=1, success=success)
    usual = measure(tmp_path / "usual", recipe)
    fragile = measure(tmp_path / "fragile", recipe, backbone=backbone_through(forward))
    assert fragile["top1"].value == 0
    assert np.array_equal(fragile["top1_clean"].values, usual["top1_clean"].values)  # type: ignore[arg-type]
    # with "any" an image that is wrong without an attack is not attacked
    attacked = 96 if success == "last" else round(0.96 * usual["top1_clean"].value)
    assert fragile["top1"].details["not_finite_images"] == attacked
    assert "not_finite_images" not in {**fragile["top1_clean"].details, **usual["top1"].details}


def test_test_images_of_nan_are_wrong_without_an_attack_too(tmp_path: Path) -> None:
    """A network that gives NaN for white images is wrong on them, clean and attacked; the others are as usual."""
    dataset, _ = classification_dataset()
    white, test = Image.new("RGB", (2, 2), "white"), dataset["test"]
    images = replace(test, image=lambda i: white if i % 4 == 0 else test.image(i), fingerprint="whitened")
    dataset = replace(dataset, splits={**dataset.splits, "test": images})
    fragile = backbone_through(lambda x: torch.where((x > 0.9).all(dim=1, keepdim=True), torch.nan, x))
    usual = measure(tmp_path / "usual", dataset=dataset)
    measured = measure(tmp_path / "fragile", dataset=dataset, backbone=fragile)
    for metric in ("top1", "top1_clean"):
        values, others = measured[metric].values, usual[metric].values
        assert values is not None
        assert others is not None
        assert not values[::4].any()
        assert np.array_equal(values[np.arange(96) % 4 != 0], others[np.arange(96) % 4 != 0])
        assert measured[metric].details["not_finite_images"] == 24


def test_several_labels_are_an_error(tmp_path: Path) -> None:
    """A dataset with several labels per image is refused, since the attack needs one label."""
    dataset, _ = classification_dataset()
    with pytest.raises(MissingError, match="synthetic has several labels per image; the attack needs one"):
        measure(tmp_path, dataset=replace(dataset, multi_label=True))


def test_the_network_is_as_before(tmp_path: Path) -> None:
    """The attack changes no parameter, no statistics of a BatchNorm in training mode, and no `requires_grad`."""
    whole = pixel_backbone()
    backbone = Backbone(whole.spec, nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), whole.identity)
    measure(tmp_path, backbone=backbone)  # features are kept from here on
    backbone.module.train()
    state = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    measure(tmp_path, backbone=backbone)
    assert all(torch.equal(value, state[name]) for name, value in backbone.module.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in backbone.module.parameters())
    assert all(part.training for part in backbone.module.modules())


def test_progress_comes_to_its_total(tmp_path: Path) -> None:
    """Progress counts images x steps x seeds."""
    steps: list[tuple[str, int]] = []
    counts: dict[str, int] = {}

    class RecordedProgress(Progress):
        """Progress that records the total and the count of each step."""

        @contextmanager
        def step(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
            """Record a step and what it counts."""
            steps.append((what, total))
            yield lambda count: counts.update({what: counts.get(what, 0) + count})

    measure(tmp_path, replace(RECIPE, images=24), seeds=(0, 1), progress=RecordedProgress())
    name = "pixels: adversarial-linear-probe-eps6"
    assert (name, 24 * 20 * 2) in steps
    assert counts[name] == 24 * 20 * 2


def test_the_test_split_is_no_part_of_the_head(tmp_path: Path) -> None:
    """Wrong test targets change the score but not the choice of the head."""
    dataset, _ = classification_dataset()
    wrong: Split = replace(dataset["test"], targets=(dataset["test"].targets + 1) % 6)
    with_wrong_targets = measure(tmp_path, dataset=replace(dataset, splits={**dataset.splits, "test": wrong}))
    with_true_targets = measure(tmp_path)
    assert with_wrong_targets["top1_clean"].value < with_true_targets["top1_clean"].value - 30
    assert with_wrong_targets["top1"].details["validation"] == with_true_targets["top1"].details["validation"]


def test_ids_tell_protocols_apart() -> None:
    """The id states epsilon and the success rule, and the input size is that of the head."""
    assert Adversarial().id == "adversarial-linear-probe-eps1"
    assert Adversarial(epsilon_255=2).id == "adversarial-linear-probe-eps2"
    assert Adversarial(success="any").id == "adversarial-linear-probe-eps1-any"
    assert Adversarial().input_size is None
    assert Adversarial(LinearProbe(input_size=64)).input_size == 64
