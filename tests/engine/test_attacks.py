"""PGD against torchattacks, its definition and closed forms; what it must not change, and how it fails."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from bob_gauntlet.engine import attacks
from bob_gauntlet.engine.attacks import (
    AttackResult,
    LogitsFunction,
    NoGradientError,
    frozen_module,
    logits_without_gradient,
    misclassified,
    pgd,
    pixel_batches,
)
from bob_gauntlet.engine.frozen.linear import pixels_to_logits
from bob_gauntlet.engine.frozen.logistic import regularisation_path
from bob_gauntlet.engine.transforms import normalise, preprocess
from tests.helpers.synthetic_images import SIZE, Colours, backbone, pictures, split

CLASSES = 4
EPSILON = 8 / 255


class Scribbler(nn.Module):
    """A network that writes into its input, as in-place activations do, before and after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Conv2d(8, 8, 3))
        self.last = nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (B, 4) logits of (B, 3, H, W) images."""
        features: torch.Tensor = self.body(self.first(images.sub_(0.3))).mean(dim=(2, 3))
        logits: torch.Tensor = 20 * self.last(features)
        return logits


def network() -> nn.Module:
    """Return a Scribbler with fixed weights and statistics, in evaluation mode, with frozen parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Scribbler()
        for _ in range(3):
            module(torch.rand(16, 3, 9, 9))
        module.eval().requires_grad_(False)
        # so that not every image gets the same class
        module.last.bias.sub_(module(torch.rand(64, 3, 9, 9)).mean(dim=0) / 20)
    return module


def examples(count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images in [0, 1], with black and white pixels among them, and labels.

    The labels are the network's predictions, but every eighth is wrong.
    """
    generator = torch.Generator().manual_seed(1)
    images = (1.4 * torch.rand(count, 3, 9, 9, generator=generator) - 0.2).clamp(0, 1)
    labels = logits_without_gradient(network(), images).argmax(dim=1)
    labels[::8] = (labels[::8] + 1) % CLASSES
    return images, labels


def attack(classifier: LogitsFunction, epsilon: float = EPSILON, **options: Any) -> AttackResult:
    """Run `pgd` on the examples, in steps of a fifth of epsilon."""
    images, labels = examples()
    return pgd(classifier, images, labels, epsilon, **{"steps": 20, "step_size": epsilon / 5, **options})


def test_it_is_torchattacks_pgd() -> None:
    """From the same start, every pixel is that of torchattacks.PGD."""
    torchattacks = pytest.importorskip("torchattacks")

    class Copying(nn.Module):
        """Copies its input, since torchattacks passes its leaf tensor to the network."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Return the (B, 4) logits of (B, 3, H, W) images."""
            logits: torch.Tensor = self.network(images.clone())
            return logits

    model = Copying().eval()
    expected_images = torchattacks.PGD(model, eps=EPSILON, alpha=EPSILON / 5, steps=20, random_start=False)(*examples())
    result = attack(network())
    assert (result.images - expected_images).abs().max() <= 1e-6
    assert torch.equal(result.logits.argmax(dim=1), logits_without_gradient(model, expected_images).argmax(dim=1))
    assert (result.images - examples()[0]).abs().max() == pytest.approx(EPSILON, rel=1e-5)


def test_it_is_its_definition() -> None:
    """For each image alone, the attack is 20 times x <- clip(x + step sign(gradient)), with its own backward pass."""
    result = attack(network())
    for start, label, moved in zip(*examples(), result.images, strict=True):
        x = start[None].clone()
        for _ in range(20):
            x.requires_grad_(True)
            nn.CrossEntropyLoss()(network()(x + 0), label[None]).backward()
            stepped = x.detach() + EPSILON / 5 * x.grad.sign()
            x = torch.minimum(torch.maximum(stepped, start[None] - EPSILON), start[None] + EPSILON).clip(0, 1)
        torch.testing.assert_close(moved[None], x, rtol=0, atol=1e-6)


def test_it_misleads() -> None:
    """Few of 28 correct images stay correct, and the returned logits are those of the returned images."""
    images, labels = examples()
    result = attack(network())
    assert misclassified(logits_without_gradient(network(), images), labels).sum() == 4
    assert misclassified(result.logits, labels).sum() >= 20
    torch.testing.assert_close(result.logits, logits_without_gradient(network(), result.images))
    assert not result.zero_gradient.any()


@settings(max_examples=30, deadline=None)
@given(
    epsilon=st.floats(0, 0.5),
    step=st.floats(0, 1),
    steps=st.integers(0, 6),
    random_start=st.booleans(),
    success=st.sampled_from(["last", "any"]),
)
def test_images_stay_in_the_ball_and_in_range(
    epsilon: float, step: float, steps: int, random_start: bool, success: str
) -> None:
    """The images stay in both for every step size, except for half a unit in the last place of 1."""
    result = attack(network(), epsilon, step_size=step, steps=steps, random_start=random_start, success=success)
    assert (result.images - examples()[0]).abs().max() <= epsilon + 6e-8
    assert result.images.min() >= 0
    assert result.images.max() <= 1


def linear(classes: int) -> LogitsFunction:
    """Return a linear classifier with fixed weights."""
    weight = 0.1 * torch.randn(3 * 81, classes, generator=torch.Generator().manual_seed(2))
    return lambda images: images.flatten(1) @ weight


def test_the_optimum_of_a_linear_binary_classifier_is_its_closed_form() -> None:
    """After six steps of a fifth of epsilon the images are x + epsilon sign(w_other - w_true), clipped to [0, 1]."""
    images, labels = examples()[0], torch.arange(32) % 2
    result = pgd(linear(2), images, labels, EPSILON, steps=6, step_size=EPSILON / 5)
    weight = linear(2)(torch.eye(243).view(243, 3, 9, 9))
    towards = (weight[:, 1] - weight[:, 0]).view(3, 9, 9) * (1 - 2 * labels).view(-1, 1, 1, 1)
    assert torch.equal(result.images, (images + EPSILON * towards.sign()).clip(0, 1))


def test_the_loss_of_a_linear_classifier_does_not_fall() -> None:
    """The loss is convex and no step goes against its gradient, so more steps never lower it."""
    images, labels = examples()[0], torch.arange(32) % 3
    losses = []
    for steps in range(12):
        result = pgd(linear(3), images, labels, EPSILON, steps=steps, step_size=EPSILON / 5)
        losses.append(nn.functional.cross_entropy(result.logits, labels, reduction="none"))
    gains = torch.stack(losses).diff(dim=0)
    assert gains.min() >= -1e-4
    assert (gains[:4] > 0.01).any(dim=0).all()


def test_epsilon_0_changes_nothing() -> None:
    """With epsilon 0, the original images and their logits are returned."""
    images, _ = examples()
    result = attack(network(), 0.0, random_start=True)
    assert torch.equal(result.images, images)
    assert torch.equal(result.logits, logits_without_gradient(network(), images))


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("success", ["last", "any"])
def test_an_image_does_not_depend_on_its_batch(random_start: bool, success: str) -> None:
    """32 images attacked together and one by one, with one generator, give the same images."""
    options: dict[str, Any] = {"steps": 20, "step_size": EPSILON / 5, "random_start": random_start, "success": success}
    together = attack(network(), generator=torch.Generator().manual_seed(3), **options)
    generator = torch.Generator().manual_seed(3)
    alone = [
        pgd(network(), image[None], label[None], EPSILON, generator=generator, **options).images
        for image, label in zip(*examples(), strict=True)
    ]
    torch.testing.assert_close(together.images, torch.cat(alone), rtol=0, atol=1e-6)


def test_an_image_s_gradient_is_not_shared_out_over_its_batch() -> None:
    """The smallest float32 is 1e-45; a gradient of 1e-44 is not divided by the batch size, so it is not 0."""
    images, labels = examples()[0], torch.zeros(32, dtype=torch.int64)

    def faint(x: torch.Tensor) -> torch.Tensor:
        darkness = 3e-44 * x.flatten(1).sum(dim=1)
        return torch.stack([-darkness, 0 * darkness], dim=1)

    assert not pgd(faint, images, labels, EPSILON, steps=1, step_size=EPSILON).zero_gradient.any()


def test_a_random_start_is_uniform_in_the_ball_and_the_generators() -> None:
    """The starts around grey images have mean 0, standard deviation epsilon / sqrt(3), and depend on the generator."""
    grey = torch.full((64, 3, 9, 9), 0.5)
    starts = [
        pgd(linear(2), grey, torch.zeros(64, dtype=torch.int64), EPSILON, steps=0, step_size=0, random_start=True,
            generator=torch.Generator().manual_seed(seed)).images - 0.5
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    # 15,552 draws: standard errors of mean and deviation are below 0.5% of epsilon
    assert abs(starts[0].mean()) < 0.02 * EPSILON
    assert starts[0].std() == pytest.approx(EPSILON / np.sqrt(3), rel=0.02)
    assert starts[0].abs().max() == pytest.approx(EPSILON, rel=0.01)


def test_any_stops_at_the_first_wrong_iterate() -> None:
    """Each returned image is the first misclassified iterate of the whole attack, or else the last iterate."""
    _, labels = examples()
    iterates = [attack(network(), EPSILON / 2, steps=steps, step_size=EPSILON / 10) for steps in range(9)]
    wrong = torch.stack([misclassified(result.logits, labels) for result in iterates])
    stopped = attack(network(), EPSILON / 2, steps=8, step_size=EPSILON / 10, success="any")
    first = torch.where(wrong.any(dim=0), wrong.int().argmax(dim=0), 8)
    assert set(first.tolist()) > {0, 8}  # wrong from the start, and never
    assert len(set(first.tolist())) > 3
    for index, step in enumerate(first.tolist()):
        torch.testing.assert_close(stopped.images[index], iterates[step].images[index], rtol=0, atol=1e-6)
    assert torch.equal(misclassified(stopped.logits, labels), wrong.any(dim=0))


def test_any_counts_an_image_that_recovers() -> None:
    """An image whose step jumps over a narrow misclassified stripe counts with "any", but not with "last"."""

    def stripe(x: torch.Tensor) -> torch.Tensor:
        level = x.mean(dim=(1, 2, 3))
        # class 0 is right except for levels in (0.52, 0.56); the gradient points to higher levels
        return torch.stack([(level - 0.54).abs() - 0.02 - 0.5 * level, -0.5 * level], dim=1)

    images, labels = torch.full((1, 3, 2, 2), 0.5), torch.tensor([0])
    is_misclassified = {
        success: misclassified(
            pgd(stripe, images, labels, 1.0, steps=2, step_size=0.045, success=success).logits, labels
        )
        for success in ("last", "any")
    }
    # 0.5 is right; 0.545 is wrong and beyond the stripe's middle, so the next step leads back to 0.5
    assert {success: bool(wrong) for success, wrong in is_misclassified.items()} == {"last": False, "any": True}


def test_a_network_never_sees_an_empty_batch() -> None:
    """No batch is empty where every image is misclassified before the last step: some networks cannot take one."""
    images, labels = examples()
    sizes: list[int] = []

    def counting(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return linear(2)(x)

    result = pgd(counting, images, labels % 2, 0.5, steps=20, step_size=0.1, success="any")
    assert misclassified(result.logits, labels % 2).all()
    assert 1 < len(sizes) < 20
    assert min(sizes) > 0


@pytest.mark.parametrize("success", ["last", "any"])
def test_progress_counts_images_times_steps(success: str) -> None:
    """Progress is complete also where every image is misclassified before the last step."""
    counts: list[int] = []
    attack(network(), 0.5, success=success, advance=counts.append)
    assert sum(counts) == 32 * 20


def test_it_works_where_gradients_are_off() -> None:
    """Inside no_grad the attack gives the same images, and gradients stay off."""
    with torch.no_grad():
        inside = attack(network())
        assert not torch.is_grad_enabled()
    assert torch.equal(inside.images, attack(network()).images)
    assert not inside.logits.requires_grad
    assert not inside.images.requires_grad


def test_the_images_given_are_left_alone() -> None:
    """The given images do not change, even with a network that writes into its input."""
    images, labels = examples()
    pgd(lambda x: network()(x), images, labels, EPSILON, steps=3, step_size=EPSILON, random_start=True)
    assert torch.equal(images, examples()[0])
    assert not images.requires_grad


def test_images_without_a_gradient_are_marked() -> None:
    """Images that the network rounds to black and white have a zero gradient; the others do not."""
    images, labels = examples()
    seen = torch.arange(32) % 2 == 0

    def half_blind(x: torch.Tensor) -> torch.Tensor:
        return linear(CLASSES)(torch.where(seen.view(-1, 1, 1, 1), x, x.round()))

    result = pgd(half_blind, images, labels, EPSILON, steps=2, step_size=EPSILON)
    assert torch.equal(result.zero_gradient, ~seen)
    assert torch.equal(result.images[~seen], images[~seen])


@pytest.mark.parametrize(
    "classifier",
    [
        lambda x: linear(4)(x.detach()),
        lambda x: logits_without_gradient(linear(4), x),
        lambda x: torch.ones(32, 4, requires_grad=True),
    ],
    ids=["detach", "no_grad", "unused"],
)
def test_a_classifier_without_a_gradient_is_an_error(classifier: LogitsFunction) -> None:
    """A classifier without a gradient raises NoGradientError, instead of an attack that changes nothing."""
    with pytest.raises(NoGradientError):
        attack(classifier)


def test_ties_are_wrong() -> None:
    """A wrong class with the logit of the true one counts as misclassified, as in in_top_k."""
    logits = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert misclassified(logits, torch.tensor([0, 0, 0])).tolist() == [True, False, True]


# ---- logits that are NaN or infinite


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (4, 3), elements=st.integers(-2, 2).map(float)),
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from([np.nan, np.inf, -np.inf])), min_size=1, max_size=3),
)
def test_no_image_with_such_a_logit_is_robust(logits: np.ndarray, bad: list[tuple[int, float]]) -> None:
    """An image with NaN or infinity among its logits is misclassified; the other images are judged as before."""
    labels, poisoned = torch.tensor([0, 1, 2, 0]), logits.copy()
    for place, value in bad:
        poisoned.flat[place] = value
    before, after = (misclassified(torch.from_numpy(each), labels) for each in (logits, poisoned))
    broken = torch.from_numpy(~np.isfinite(poisoned).all(axis=1))
    assert torch.equal(after, before | broken)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("success", ["last", "any"])
def test_an_image_is_broken_where_its_logits_are_no_numbers(bad: float, success: Any) -> None:
    """Its attack ends there with those logits, and it is not fed again; the other images are attacked as without it."""
    images, _ = examples(8)
    images[0] = 0.5
    labels = logits_without_gradient(network(), images).argmax(dim=1)
    sizes: list[int] = []

    def fragile(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        distance_from_grey = (x - 0.5).abs().amax(dim=(1, 2, 3))
        has_moved = (distance_from_grey > 0) & (distance_from_grey < 2 * EPSILON)
        return torch.where(has_moved[:, None], bad, network()(x))

    options: dict[str, Any] = {"steps": 5, "step_size": EPSILON / 5, "success": success}
    alone = pgd(network(), images[1:], labels[1:], EPSILON, **options)
    result = pgd(fragile, images, labels, EPSILON, **options)
    assert not result.logits[0].isfinite().any()
    assert 0 < (result.images[0] - 0.5).abs().max() < EPSILON / 4
    assert sizes[:2] == [8, 8]
    assert max(sizes[2:]) <= 7
    torch.testing.assert_close(result.images[1:], alone.images, rtol=0, atol=1e-6)
    torch.testing.assert_close(result.logits[1:], alone.logits, rtol=0, atol=1e-3)


def test_a_gradient_of_nan_is_an_error_where_the_logits_are_finite() -> None:
    """The sign of NaN would leave the image as it is; an image whose logits are NaN needs no gradient."""
    images, labels = torch.full((2, 3, 2, 2), 0.5), torch.tensor([0, 0])

    def rooted(x: torch.Tensor) -> torch.Tensor:
        level = x.mean(dim=(1, 2, 3))
        return torch.stack([level, -level + (0 * level).sqrt()], dim=1)

    with pytest.raises(NoGradientError, match="it is NaN"):
        pgd(rooted, images, labels, EPSILON, steps=1, step_size=EPSILON)
    result = pgd(lambda x: rooted(x) * torch.nan, images, labels, EPSILON, steps=3, step_size=EPSILON)
    assert misclassified(result.logits, labels).all()
    assert torch.equal(result.images, images)


# ---- the attacked network


def test_frozen_puts_everything_back() -> None:
    """After the block, modes, requires_grad and statistics are as before it, also after an exception."""
    module = Scribbler().train()
    module.body[1].eval()
    module.last.bias.requires_grad_(False)
    modes = {name: part.training for name, part in module.named_modules()}
    assert set(modes.values()) == {True, False}, "the module above has both modes, and both have to be restored"
    learning = {name: p.requires_grad for name, p in module.named_parameters()}
    state = {name: value.clone() for name, value in module.state_dict().items()}

    def fail() -> None:
        with frozen_module(module):
            assert not any(part.training for part in module.modules())
            assert not any(p.requires_grad for p in module.parameters())
            attack(module)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert {name: p.requires_grad for name, p in module.named_parameters()} == learning
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_the_attacked_classifier_is_the_backbone_and_its_head() -> None:
    """The attacked function gives `Head.logits` of the normalised images' features, and has a gradient."""
    images = torch.stack([preprocess(image, backbone(Colours()).identity.transform) for image in pictures(40)])
    whole = backbone(Colours())
    with torch.no_grad():
        features = whole.embed(normalise(images, whole.identity.transform)).numpy()
    # the features are far from 0 and have different scales, so a forgotten mean or scale is seen
    head = next(regularisation_path(features, np.arange(40) % 3, 3, [1e-3]))
    classifier = pixels_to_logits(whole, whole.identity.transform, head)
    np.testing.assert_allclose(
        logits_without_gradient(classifier, images / 255).numpy(), head.logits(features), rtol=0, atol=1e-4
    )
    result = pgd(classifier, images / 255, torch.arange(40) % 3, EPSILON, steps=1, step_size=EPSILON)
    assert not result.zero_gradient.any()


def test_pixels_are_the_preprocessed_images() -> None:
    """Batches come in order, with a shorter last one; pixels are in [0, 1], and channels are last in memory."""
    shown, transform = pictures(5), backbone(Colours()).identity.transform
    batches = list(pixel_batches(split(shown, 5), transform, 2))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, SIZE, SIZE), (2, 3, SIZE, SIZE), (1, 3, SIZE, SIZE)]
    expected = torch.stack([preprocess(image, transform) for image in shown]) / 255
    assert torch.equal(torch.cat(batches), expected)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in batches)


def test_pages_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack calls keep_pages, as the extraction of features does; benchmarks/pgd.py measures the gain."""
    called = []
    monkeypatch.setattr(attacks, "keep_pages", lambda: called.append(True))
    attack(linear(CLASSES))
    assert called
