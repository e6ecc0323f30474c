"""A classifier on a copy of the backbone: what learns, at which learning rate, and what does not change."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.training.network import Network
from tests.helpers import tiny

PIXELS = InputTransform(size=32)


def images(count: int = 8, seed: int = 0) -> torch.Tensor:
    """Return (N, 3, 32, 32) of noise."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def network(backbone: Backbone, **options: object) -> Network:
    """Return a network of three classes, whose head is drawn with seed 0."""
    classifier = Network(backbone, 3, PIXELS, **options)  # type: ignore[arg-type]
    classifier.initialise(0)
    return classifier


def train(classifier: Network, steps: int = 2) -> None:
    """Make steps of plain gradient descent, in training mode."""
    classifier.train()
    optimiser = torch.optim.SGD(classifier.parameter_groups(0.05, None), lr=0.1)
    for step in range(steps):
        nn.functional.cross_entropy(classifier(images(seed=step)), torch.arange(8) % 3).backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("options", [{}, {"drop_path": 0.1}, {"frozen": True}], ids=["copy", "rebuilt", "frozen"])
def test_training_does_not_change_the_backbone(options: dict[str, object]) -> None:
    """Its weights, buffers, mode, gradients and requires_grad stay the same."""
    backbone = tiny.timm_backbone("test_resnet")
    before = tiny.weights(backbone.module)
    classifier = network(backbone, **options)
    learned = tiny.weights(classifier)
    with count_forwards() as count:
        train(classifier)
    assert count.images == 16
    assert not tiny.identical(learned, tiny.weights(classifier))
    assert tiny.identical(before, tiny.weights(backbone.module))
    assert not any(part.training for part in backbone.module.modules())
    assert all(p.requires_grad and p.grad is None for p in backbone.module.parameters())


def test_all_of_an_unfrozen_network_learns() -> None:
    """Every parameter and every BatchNorm statistic changes, and the body is in training mode."""
    classifier = network(tiny.timm_backbone("test_resnet"))
    before = tiny.weights(classifier)
    train(classifier, steps=3)
    assert all(part.training for part in classifier.modules())
    assert [name for name, tensor in tiny.weights(classifier).items() if torch.equal(tensor, before[name])] == []


def test_only_the_linear_layer_of_a_frozen_network_learns() -> None:
    """The body stays in evaluation mode with its statistics; the BatchNorm before the linear layer is updated."""
    classifier = network(tiny.timm_backbone("test_resnet"), frozen=True)
    body = tiny.weights(classifier.body)
    classifier.train()
    assert not any(part.training for part in classifier.body.modules())
    assert all(part.training for part in classifier.head.modules())
    nn.functional.cross_entropy(classifier(images()), torch.arange(8) % 3).backward()
    assert [name for name, p in classifier.named_parameters() if p.grad is not None] == ["head.1.weight", "head.1.bias"]
    assert [name for name, p in classifier.named_parameters() if p.requires_grad] == ["head.1.weight", "head.1.bias"]
    assert tiny.identical(body, tiny.weights(classifier.body))
    norm = classifier.head[0]
    assert isinstance(norm, nn.BatchNorm1d)
    assert (norm.affine, norm.eps, int(norm.num_batches_tracked)) == (False, 1e-6, 1)  # type: ignore[arg-type]
    classifier.eval()
    assert not any(part.training for part in classifier.modules())


def test_a_frozen_network_is_its_features_normalised_and_a_linear_layer() -> None:
    """In training the features are normalised by the statistics of the batch, as computed by hand in float64."""
    backbone = tiny.timm_backbone("test_resnet")
    classifier = network(backbone, frozen=True).train()
    with torch.no_grad():
        features = backbone.embed(images()).double()
    scaled = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-6).sqrt()
    linear = classifier.head[-1]
    expected = scaled @ linear.weight.double().T  # type: ignore[operator, union-attr]
    assert torch.allclose(classifier(images()).double(), expected, atol=1e-5)


def test_a_frozen_network_still_gives_a_gradient_to_the_image() -> None:
    """The image has a gradient in evaluation mode, as an attack needs it, but not in training mode."""
    classifier = network(tiny.timm_backbone("test_vit"), frozen=True)
    batch = images().requires_grad_()
    classifier.train()(batch).sum().backward()
    assert batch.grad is None
    classifier.eval()(batch).sum().backward()
    assert batch.grad is not None


@pytest.mark.parametrize("frozen", [False, True])
def test_the_learned_state_makes_an_equal_network(frozen: bool) -> None:
    """Loading it into a new network gives equal logits; the state of a frozen network is only its head."""
    backbone = tiny.timm_backbone("test_resnet")
    classifier = network(backbone, frozen=frozen)
    train(classifier)
    learned = {name: tensor.clone() for name, tensor in classifier.learned_state().items()}
    other = Network(backbone, 3, PIXELS, frozen=frozen)
    other.load_learned_state(learned)
    assert torch.equal(other.eval()(images()), classifier.eval()(images()))
    head_names = {
        "head.0.running_mean",
        "head.0.running_var",
        "head.0.num_batches_tracked",
        "head.1.weight",
        "head.1.bias",
    }
    assert set(learned) == (head_names if frozen else set(classifier.state_dict()))
    assert not any(tensor.requires_grad for tensor in learned.values())


def test_weights_of_another_network_are_refused() -> None:
    """Unknown names and a missing head are refused."""
    classifier = network(tiny.timm_backbone("test_resnet"), frozen=True)
    learned = classifier.learned_state()
    with pytest.raises(ValueError, match="is missing or unknown"):
        classifier.load_learned_state({**learned, "other": torch.zeros(1)})
    del learned["head.1.bias"]
    with pytest.raises(ValueError, match="is missing or unknown"):
        classifier.load_learned_state(learned)


def group_settings(classifier: Network, layer_decay: float | None) -> dict[str, tuple[float, float]]:
    """Return by parameter name (weight decay, learning-rate scale), after a check that none is in two groups."""
    names = {id(p): name for name, p in classifier.named_parameters()}
    groups = classifier.parameter_groups(0.05, layer_decay)
    settings = {
        names[id(p)]: (group["weight_decay"], group.get("lr_scale", 1.0)) for group in groups for p in group["params"]
    }
    assert len(settings) == sum(len(group["params"]) for group in groups)
    return settings


def test_the_learning_rate_falls_with_depth() -> None:
    """With the 6 blocks of test_vit, the stem has layer_decay ** 6, block i layer_decay ** (5 - i), norm and head 1."""
    settings = group_settings(network(tiny.timm_backbone("test_vit")), 0.5)
    assert set(settings) == set(dict(network(tiny.timm_backbone("test_vit")).named_parameters()))
    for name, (_, scale) in settings.items():
        part = name.split(".")
        stem = part[1] in ("cls_token", "pos_embed", "patch_embed")
        depth = -1 if stem else int(part[2]) if part[1] == "blocks" else 5
        assert scale == 0.5 ** (5 - depth), name
    assert settings["body.patch_embed.proj.weight"][1] == 0.5**6


@pytest.mark.parametrize("layer_decay", [None, 0.75])
def test_biases_norms_and_positions_do_not_decay(layer_decay: float | None) -> None:
    """Parameters with one dimension and those that the architecture names do not decay; all others do."""
    classifier = network(tiny.timm_backbone("test_vit"))
    settings = group_settings(classifier, layer_decay)
    for name, parameter in classifier.named_parameters():
        undecayed = parameter.ndim == 1 or name in ("body.pos_embed", "body.cls_token")
        assert settings[name][0] == (0.0 if undecayed else 0.05), name
    if layer_decay is None:
        assert {scale for _, scale in settings.values()} == {1.0}


def test_the_optimiser_of_a_frozen_network_has_only_the_head() -> None:
    """Its groups hold the weight and the bias of the linear layer."""
    assert group_settings(network(tiny.timm_backbone("test_vit"), frozen=True), None) == {
        "head.1.weight": (0.05, 1.0),
        "head.1.bias": (0.0, 1.0),
    }


def test_drop_path_changes_nothing_in_evaluation() -> None:
    """In evaluation mode the rebuilt network gives the backbone's features; in training mode it drops paths."""
    backbone = tiny.timm_backbone("test_vit")
    classifier = network(backbone, drop_path=0.5)
    assert classifier.drop_path == 0.5
    with torch.no_grad():
        assert torch.equal(classifier.eval().backbone_copy.embed(images()), backbone.embed(images()))
        classifier.train()
        assert not torch.equal(classifier(images()), classifier(images()))
        plain = network(backbone).train()
        assert plain.drop_path == 0
        assert torch.equal(plain(images()), plain(images()))


def test_an_architecture_without_drop_path_has_rate_0() -> None:
    """The rate is 0 for a timm network without that argument, for a user's module, and for a frozen network."""
    for backbone in (tiny.timm_backbone("dla46_c"), tiny.backbone()):
        transform = backbone.identity.transform
        classifier = Network(backbone, 3, transform, drop_path=0.1)
        assert classifier.drop_path == 0
        zeros = torch.zeros(2, 3, transform.size, transform.size)
        assert torch.equal(classifier.eval().backbone_copy.embed(zeros), backbone.embed(zeros))
    assert network(tiny.timm_backbone("test_vit"), frozen=True, drop_path=0.1).drop_path == 0


def test_the_head_is_drawn_from_the_seed_as_in_the_papers_scripts() -> None:
    """Weights are Xavier-normal, std = sqrt(2 / (in + out)), or with std 0.01 if frozen; the bias is 0."""
    for frozen, spread in ((False, (2 / (16 + 1000)) ** 0.5), (True, 0.01)):
        heads = []
        for seed in (0, 0, 1):
            classifier = Network(tiny.backbone(), 1000, replace(PIXELS, size=tiny.SIDE), frozen=frozen)
            classifier.initialise(seed)
            linear = classifier.head[-1]
            assert isinstance(linear, nn.Linear)
            assert linear.bias.count_nonzero() == 0
            assert float(linear.weight.detach().std()) == pytest.approx(spread, rel=0.05)
            heads.append(linear.weight.detach())
        assert torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[0], heads[2])


def test_the_width_is_found_by_a_forward_pass() -> None:
    """A width that the identity does not state is measured by a forward pass."""
    backbone = tiny.backbone()
    backbone.identity = replace(backbone.identity, traits=replace(backbone.identity.traits, features=0))
    classifier = Network(backbone, 5, tiny.TRANSFORM)
    assert classifier(torch.zeros(3, 3, tiny.SIDE, tiny.SIDE)).shape == (3, 5)
