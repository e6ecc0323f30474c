"""PGD: against torchattacks, its definition and closed forms; what it may not touch, and what it says when it fails."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
    """Writes into its input, as in-place activations do, before and after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Conv2d(8, 8, 3))
        self.last = nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to (B, 4)."""
        features: torch.Tensor = self.body(self.first(images.sub_(0.3))).mean(dim=(2, 3))
        logits: torch.Tensor = 20 * self.last(features)
        return logits


def network() -> nn.Module:
    """A Scribbler of fixed weights and statistics, in evaluation mode, its parameters frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Scribbler()
        for _ in range(3):
            module(torch.rand(16, 3, 9, 9))
        module.eval().requires_grad_(False)
        # no class is every image's
        module.last.bias.sub_(module(torch.rand(64, 3, 9, 9)).mean(dim=0) / 20)
    return module


def examples(count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [0, 1], black and white pixels among them, and labels: what the network says, and each eighth wrong."""
    generator = torch.Generator().manual_seed(1)
    images = (1.4 * torch.rand(count, 3, 9, 9, generator=generator) - 0.2).clamp(0, 1)
    labels = logits_without_gradient(network(), images).argmax(dim=1)
    labels[::8] = (labels[::8] + 1) % CLASSES
    return images, labels


def attack(classifier: LogitsFunction, epsilon: float = EPSILON, **options: Any) -> AttackResult:
    """`pgd` of the examples in steps of a fifth of epsilon."""
    images, labels = examples()
    return pgd(classifier, images, labels, epsilon, **{"steps": 20, "step_size": epsilon / 5, **options})


def test_it_is_torchattacks_pgd() -> None:
    """Pixel for pixel, from the same start."""
    torchattacks = pytest.importorskip("torchattacks")

    class Copying(nn.Module):
        """torchattacks hands its leaf to the network as it is."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """(B, 3, H, W) to (B, 4)."""
            logits: torch.Tensor = self.network(images.clone())
            return logits

    model = Copying().eval()
    theirs = torchattacks.PGD(model, eps=EPSILON, alpha=EPSILON / 5, steps=20, random_start=False)(*examples())
    found = attack(network())
    assert (found.images - theirs).abs().max() <= 1e-6
    assert torch.equal(found.logits.argmax(dim=1), logits_without_gradient(model, theirs).argmax(dim=1))
    assert (found.images - examples()[0]).abs().max() == pytest.approx(EPSILON, rel=1e-5)


def test_it_is_its_definition() -> None:
    """One image at a time, the loss of its own backward pass: x <- clip(x + step sign(gradient)), 20 times."""
    found = attack(network())
    for start, label, moved in zip(*examples(), found.images, strict=True):
        x = start[None].clone()
        for _ in range(20):
            x.requires_grad_(True)
            nn.CrossEntropyLoss()(network()(x + 0), label[None]).backward()
            stepped = x.detach() + EPSILON / 5 * x.grad.sign()
            x = torch.minimum(torch.maximum(stepped, start[None] - EPSILON), start[None] + EPSILON).clip(0, 1)
        torch.testing.assert_close(moved[None], x, rtol=0, atol=1e-6)


def test_it_misleads() -> None:
    """Of 28 images that were right few stay so; the logits are those of the images given back."""
    images, labels = examples()
    found = attack(network())
    assert misclassified(logits_without_gradient(network(), images), labels).sum() == 4
    assert misclassified(found.logits, labels).sum() >= 20
    torch.testing.assert_close(found.logits, logits_without_gradient(network(), found.images))
    assert not found.zero_gradient.any()


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
    """Whatever the step; half a unit in the last place of 1 aside."""
    found = attack(network(), epsilon, step_size=step, steps=steps, random_start=random_start, success=success)
    assert (found.images - examples()[0]).abs().max() <= epsilon + 6e-8
    assert found.images.min() >= 0
    assert found.images.max() <= 1


def linear(classes: int) -> LogitsFunction:
    """A linear classifier of fixed weights."""
    weight = 0.1 * torch.randn(3 * 81, classes, generator=torch.Generator().manual_seed(2))
    return lambda images: images.flatten(1) @ weight


def test_the_optimum_of_a_linear_binary_classifier_is_its_closed_form() -> None:
    """x + epsilon sign(w_other - w_true), clipped to [0, 1]: exact after six steps of a fifth of epsilon."""
    images, labels = examples()[0], torch.arange(32) % 2
    found = pgd(linear(2), images, labels, EPSILON, steps=6, step_size=EPSILON / 5)
    weight = linear(2)(torch.eye(243).view(243, 3, 9, 9))
    towards = (weight[:, 1] - weight[:, 0]).view(3, 9, 9) * (1 - 2 * labels).view(-1, 1, 1, 1)
    assert torch.equal(found.images, (images + EPSILON * towards.sign()).clip(0, 1))


def test_the_loss_of_a_linear_classifier_does_not_fall() -> None:
    """It is convex, and no step goes against its gradient."""
    images, labels = examples()[0], torch.arange(32) % 3
    losses = []
    for steps in range(12):
        found = pgd(linear(3), images, labels, EPSILON, steps=steps, step_size=EPSILON / 5)
        losses.append(nn.functional.cross_entropy(found.logits, labels, reduction="none"))
    gains = torch.stack(losses).diff(dim=0)
    assert gains.min() >= -1e-4
    assert (gains[:4] > 0.01).any(dim=0).all()


def test_without_room_nothing_moves() -> None:
    """Epsilon 0 gives the images and their own logits."""
    images, _ = examples()
    found = attack(network(), 0.0, random_start=True)
    assert torch.equal(found.images, images)
    assert torch.equal(found.logits, logits_without_gradient(network(), images))


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("success", ["last", "any"])
def test_an_image_does_not_depend_on_its_batch(random_start: bool, success: str) -> None:
    """32 at once or one by one, from one generator."""
    options: dict[str, Any] = {"steps": 20, "step_size": EPSILON / 5, "random_start": random_start, "success": success}
    together = attack(network(), generator=torch.Generator().manual_seed(3), **options)
    generator = torch.Generator().manual_seed(3)
    alone = [
        pgd(network(), image[None], label[None], EPSILON, generator=generator, **options).images
        for image, label in zip(*examples(), strict=True)
    ]
    torch.testing.assert_close(together.images, torch.cat(alone), rtol=0, atol=1e-6)


def test_an_image_s_gradient_is_not_shared_out_over_its_batch() -> None:
    """Float32 ends at 1e-45: a gradient of 1e-44 is still one in a batch of 32."""
    images, labels = examples()[0], torch.zeros(32, dtype=torch.int64)

    def faint(x: torch.Tensor) -> torch.Tensor:
        darkness = 3e-44 * x.flatten(1).sum(dim=1)
        return torch.stack([-darkness, 0 * darkness], dim=1)

    assert not pgd(faint, images, labels, EPSILON, steps=1, step_size=EPSILON).zero_gradient.any()


def test_a_random_start_is_uniform_in_the_ball_and_the_generators() -> None:
    """Of grey images: mean 0, standard deviation epsilon / sqrt(3), no two generators alike."""
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
    """Each image is the first iterate of the whole attack that is wrong, else the last one."""
    _, labels = examples()
    iterates = [attack(network(), EPSILON / 2, steps=steps, step_size=EPSILON / 10) for steps in range(9)]
    wrong = torch.stack([misclassified(found.logits, labels) for found in iterates])
    stopped = attack(network(), EPSILON / 2, steps=8, step_size=EPSILON / 10, success="any")
    first = torch.where(wrong.any(dim=0), wrong.int().argmax(dim=0), 8)
    assert set(first.tolist()) > {0, 8}  # wrong from the start, and never
    assert len(set(first.tolist())) > 3
    for place, step in enumerate(first.tolist()):
        torch.testing.assert_close(stopped.images[place], iterates[step].images[place], rtol=0, atol=1e-6)
    assert torch.equal(misclassified(stopped.logits, labels), wrong.any(dim=0))


def test_any_counts_an_image_that_recovers() -> None:
    """A step too long overshoots a narrow wrong stripe: the last iterate is right, an earlier one was wrong."""

    def stripe(x: torch.Tensor) -> torch.Tensor:
        level = x.mean(dim=(1, 2, 3))
        # class 0 is right but for levels in (0.52, 0.56); the slope leads upwards
        return torch.stack([(level - 0.54).abs() - 0.02 - 0.5 * level, -0.5 * level], dim=1)

    images, labels = torch.full((1, 3, 2, 2), 0.5), torch.tensor([0])
    judged = {
        success: misclassified(
            pgd(stripe, images, labels, 1.0, steps=2, step_size=0.045, success=success).logits, labels
        )
        for success in ("last", "any")
    }
    # 0.5 right, 0.545 wrong and, beyond the stripe's middle, pushed back: 0.5 again
    assert {success: bool(wrong) for success, wrong in judged.items()} == {"last": False, "any": True}


def test_a_network_never_sees_an_empty_batch() -> None:
    """Where every image is wrong before the last step: some networks cannot shape one."""
    images, labels = examples()
    sizes: list[int] = []

    def counting(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return linear(2)(x)

    found = pgd(counting, images, labels % 2, 0.5, steps=20, step_size=0.1, success="any")
    assert misclassified(found.logits, labels % 2).all()
    assert 1 < len(sizes) < 20
    assert min(sizes) > 0


@pytest.mark.parametrize("success", ["last", "any"])
def test_progress_counts_images_times_steps(success: str) -> None:
    """Also where every image is wrong before the last step."""
    counts: list[int] = []
    attack(network(), 0.5, success=success, advance=counts.append)
    assert sum(counts) == 32 * 20


def test_it_works_where_gradients_are_off() -> None:
    """Inside no_grad, and leaves it so."""
    with torch.no_grad():
        inside = attack(network())
        assert not torch.is_grad_enabled()
    assert torch.equal(inside.images, attack(network()).images)
    assert not inside.logits.requires_grad
    assert not inside.images.requires_grad


def test_the_images_given_are_left_alone() -> None:
    """Even by a network that writes into its input."""
    images, labels = examples()
    pgd(lambda x: network()(x), images, labels, EPSILON, steps=3, step_size=EPSILON, random_start=True)
    assert torch.equal(images, examples()[0])
    assert not images.requires_grad


def test_images_without_a_gradient_are_marked() -> None:
    """Rounding to black and white has none; those that see their pixels have one."""
    images, labels = examples()
    seen = torch.arange(32) % 2 == 0

    def half_blind(x: torch.Tensor) -> torch.Tensor:
        return linear(CLASSES)(torch.where(seen.view(-1, 1, 1, 1), x, x.round()))

    found = pgd(half_blind, images, labels, EPSILON, steps=2, step_size=EPSILON)
    assert torch.equal(found.zero_gradient, ~seen)
    assert torch.equal(found.images[~seen], images[~seen])


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
    """Not an attack that does nothing."""
    with pytest.raises(NoGradientError):
        attack(classifier)


def test_ties_are_wrong() -> None:
    """As in_top_k counts them."""
    logits = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert misclassified(logits, torch.tensor([0, 0, 0])).tolist() == [True, False, True]


# ---- the network around it


def test_frozen_puts_everything_back() -> None:
    """Modes, gradients of parameters and statistics, also after an exception."""
    module = Scribbler().train()
    module.body[1].eval()
    module.last.bias.requires_grad_(False)
    modes = {name: part.training for name, part in module.named_modules()}
    assert set(modes.values()) == {True, False}, "of the module above: both have to be put back"
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
    """The logits of `Head.logits` on the features of normalised images, and a gradient through all of it."""
    images = torch.stack([preprocess(image, backbone(Colours()).identity.transform) for image in pictures(40)])
    whole = backbone(Colours())
    with torch.no_grad():
        features = whole.embed(normalise(images, whole.identity.transform)).numpy()
    # features far from 0 and of unlike scales, so that a forgotten mean or scale shows
    head = next(regularisation_path(features, np.arange(40) % 3, 3, [1e-3]))
    classifier = pixels_to_logits(whole, whole.identity.transform, head)
    np.testing.assert_allclose(
        logits_without_gradient(classifier, images / 255).numpy(), head.logits(features), rtol=0, atol=1e-4
    )
    found = pgd(classifier, images / 255, torch.arange(40) % 3, EPSILON, steps=1, step_size=EPSILON)
    assert not found.zero_gradient.any()


def test_pixels_are_the_preprocessed_images() -> None:
    """Batches in order, the last one shorter; 0 to 1; channels last."""
    shown, transform = pictures(5), backbone(Colours()).identity.transform
    batches = list(pixel_batches(split(shown, 5), transform, 2))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, SIZE, SIZE), (2, 3, SIZE, SIZE), (1, 3, SIZE, SIZE)]
    expected = torch.stack([preprocess(image, transform) for image in shown]) / 255
    assert torch.equal(torch.cat(batches), expected)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in batches)


def test_pages_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for features; benchmarks/pgd.py shows what it is worth."""
    called = []
    monkeypatch.setattr(attacks, "keep_pages", lambda: called.append(True))
    attack(linear(CLASSES))
    assert called
