"""A classifier on a copy of the backbone: what learns, at which rate, and what does not move."""

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
    """(N, 3, 32, 32) of noise."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def network(backbone: Backbone, **options: object) -> Network:
    """Three classes, drawn with seed 0."""
    made = Network(backbone, 3, PIXELS, **options)  # type: ignore[arg-type]
    made.initialise(0)
    return made


def train(made: Network, steps: int = 2) -> None:
    """Steps of plain descent, in training mode."""
    made.train()
    optimiser = torch.optim.SGD(made.parameter_groups(0.05, None), lr=0.1)
    for step in range(steps):
        nn.functional.cross_entropy(made(images(seed=step)), torch.arange(8) % 3).backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("options", [{}, {"drop_path": 0.1}, {"frozen": True}], ids=["copy", "rebuilt", "frozen"])
def test_training_leaves_the_backbone_as_it_was(options: dict[str, object]) -> None:
    """Weights, buffers, mode, gradients, what takes one, and its count of images."""
    backbone = tiny.timm_backbone("test_resnet")
    before = tiny.weights(backbone.module)
    made = network(backbone, **options)
    learned = tiny.weights(made)
    with count_forwards() as count:
        train(made)
    assert count.images == 16
    assert not tiny.identical(learned, tiny.weights(made))
    assert tiny.identical(before, tiny.weights(backbone.module))
    assert not any(part.training for part in backbone.module.modules())
    assert all(p.requires_grad and p.grad is None for p in backbone.module.parameters())


def test_all_of_an_unfrozen_network_learns() -> None:
    """Every parameter and every statistic of a BatchNorm moves; the body is in training mode."""
    made = network(tiny.timm_backbone("test_resnet"))
    before = tiny.weights(made)
    train(made, steps=3)
    assert all(part.training for part in made.modules())
    assert [name for name, tensor in tiny.weights(made).items() if torch.equal(tensor, before[name])] == []


def test_of_a_frozen_network_the_linear_layer_alone_learns() -> None:
    """The body stays in evaluation mode and its statistics as they are; the BatchNorm before the head counts."""
    made = network(tiny.timm_backbone("test_resnet"), frozen=True)
    body = tiny.weights(made.body)
    made.train()
    assert not any(part.training for part in made.body.modules())
    assert all(part.training for part in made.head.modules())
    nn.functional.cross_entropy(made(images()), torch.arange(8) % 3).backward()
    assert [name for name, p in made.named_parameters() if p.grad is not None] == ["head.1.weight", "head.1.bias"]
    assert [name for name, p in made.named_parameters() if p.requires_grad] == ["head.1.weight", "head.1.bias"]
    assert tiny.identical(body, tiny.weights(made.body))
    norm = made.head[0]
    assert isinstance(norm, nn.BatchNorm1d)
    assert (norm.affine, norm.eps, int(norm.num_batches_tracked)) == (False, 1e-6, 1)  # type: ignore[arg-type]
    made.eval()
    assert not any(part.training for part in made.modules())


def test_a_frozen_network_is_its_features_normalised_and_a_linear_layer() -> None:
    """In training by the statistics of the batch, in float64 by hand."""
    backbone = tiny.timm_backbone("test_resnet")
    made = network(backbone, frozen=True).train()
    with torch.no_grad():
        features = backbone.embed(images()).double()
    scaled = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-6).sqrt()
    linear = made.head[-1]
    expected = scaled @ linear.weight.double().T  # type: ignore[operator, union-attr]
    assert torch.allclose(made(images()).double(), expected, atol=1e-5)


def test_a_frozen_network_still_gives_a_gradient_to_the_image() -> None:
    """In evaluation, as an attack needs it; in training the body is passed without one."""
    made = network(tiny.timm_backbone("test_vit"), frozen=True)
    batch = images().requires_grad_()
    made.train()(batch).sum().backward()
    assert batch.grad is None
    made.eval()(batch).sum().backward()
    assert batch.grad is not None


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_learned_makes_an_equal_network(frozen: bool) -> None:
    """Bit for bit, from a fresh copy; of a frozen one the head alone is kept, with its statistics."""
    backbone = tiny.timm_backbone("test_resnet")
    made = network(backbone, frozen=frozen)
    train(made)
    learned = {name: tensor.clone() for name, tensor in made.learned_state().items()}
    other = Network(backbone, 3, PIXELS, frozen=frozen)
    other.load_learned_state(learned)
    assert torch.equal(other.eval()(images()), made.eval()(images()))
    own = {"head.0.running_mean", "head.0.running_var", "head.0.num_batches_tracked", "head.1.weight", "head.1.bias"}
    assert set(learned) == (own if frozen else set(made.state_dict()))
    assert not any(tensor.requires_grad for tensor in learned.values())


def test_weights_of_another_network_are_refused() -> None:
    """Neither unknown names nor a missing head pass."""
    made = network(tiny.timm_backbone("test_resnet"), frozen=True)
    learned = made.learned_state()
    with pytest.raises(AssertionError):
        made.load_learned_state({**learned, "other": torch.zeros(1)})
    del learned["head.1.bias"]
    with pytest.raises(AssertionError):
        made.load_learned_state(learned)


def by_name(made: Network, layer_decay: float | None) -> dict[str, tuple[float, float]]:
    """Parameter -> (weight decay, rate scale) of its group; every parameter stands in one group."""
    names = {id(p): name for name, p in made.named_parameters()}
    groups = made.parameter_groups(0.05, layer_decay)
    found = {
        names[id(p)]: (group["weight_decay"], group.get("lr_scale", 1.0)) for group in groups for p in group["params"]
    }
    assert len(found) == sum(len(group["params"]) for group in groups)
    return found


def test_rates_fall_with_depth() -> None:
    """test_vit's 6 blocks: the stem has layer_decay ** 6, block i layer_decay ** (5 - i), norm and head 1."""
    found = by_name(network(tiny.timm_backbone("test_vit")), 0.5)
    assert set(found) == set(dict(network(tiny.timm_backbone("test_vit")).named_parameters()))
    for name, (_, scale) in found.items():
        part = name.split(".")
        stem = part[1] in ("cls_token", "pos_embed", "patch_embed")
        depth = -1 if stem else int(part[2]) if part[1] == "blocks" else 5
        assert scale == 0.5 ** (5 - depth), name
    assert found["body.patch_embed.proj.weight"][1] == 0.5**6


@pytest.mark.parametrize("layer_decay", [None, 0.75])
def test_biases_norms_and_positions_do_not_decay(layer_decay: float | None) -> None:
    """What has one dimension, and what the architecture names; all else has the weight decay."""
    made = network(tiny.timm_backbone("test_vit"))
    found = by_name(made, layer_decay)
    for name, parameter in made.named_parameters():
        undecayed = parameter.ndim == 1 or name in ("body.pos_embed", "body.cls_token")
        assert found[name][0] == (0.0 if undecayed else 0.05), name
    if layer_decay is None:
        assert {scale for _, scale in found.values()} == {1.0}


def test_the_optimiser_of_a_frozen_network_sees_the_head_alone() -> None:
    """Weight and bias."""
    assert by_name(network(tiny.timm_backbone("test_vit"), frozen=True), None) == {
        "head.1.weight": (0.05, 1.0),
        "head.1.bias": (0.0, 1.0),
    }


def test_drop_path_changes_nothing_in_evaluation() -> None:
    """The rebuilt network gives the backbone's features; in training it drops paths."""
    backbone = tiny.timm_backbone("test_vit")
    made = network(backbone, drop_path=0.5)
    assert made.drop_path == 0.5
    with torch.no_grad():
        assert torch.equal(made.eval().backbone_copy.embed(images()), backbone.embed(images()))
        made.train()
        assert not torch.equal(made(images()), made(images()))
        plain = network(backbone).train()
        assert plain.drop_path == 0
        assert torch.equal(plain(images()), plain(images()))


def test_an_architecture_without_drop_path_says_so() -> None:
    """0 of a timm network that takes no such argument, of a module of a user's own, and of a frozen network."""
    for backbone in (tiny.timm_backbone("dla46_c"), tiny.backbone()):
        transform = backbone.identity.transform
        made = Network(backbone, 3, transform, drop_path=0.1)
        assert made.drop_path == 0
        zeros = torch.zeros(2, 3, transform.size, transform.size)
        assert torch.equal(made.eval().backbone_copy.embed(zeros), backbone.embed(zeros))
    assert network(tiny.timm_backbone("test_vit"), frozen=True, drop_path=0.1).drop_path == 0


def test_the_head_is_drawn_from_the_seed_as_in_the_papers_scripts() -> None:
    """Xavier-normal: std = sqrt(2 / (in + out)); 0.01 behind a frozen backbone; the bias is 0."""
    for frozen, spread in ((False, (2 / (16 + 1000)) ** 0.5), (True, 0.01)):
        heads = []
        for seed in (0, 0, 1):
            made = Network(tiny.backbone(), 1000, replace(PIXELS, size=tiny.SIDE), frozen=frozen)
            made.initialise(seed)
            linear = made.head[-1]
            assert isinstance(linear, nn.Linear)
            assert linear.bias.count_nonzero() == 0
            assert float(linear.weight.detach().std()) == pytest.approx(spread, rel=0.05)
            heads.append(linear.weight.detach())
        assert torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[0], heads[2])


def test_the_width_is_found_by_asking() -> None:
    """A width that the identity does not state is measured by a forward pass."""
    backbone = tiny.backbone()
    backbone.identity = replace(backbone.identity, traits=replace(backbone.identity.traits, features=0))
    made = Network(backbone, 5, tiny.TRANSFORM)
    assert made(torch.zeros(3, 3, tiny.SIDE, tiny.SIDE)).shape == (3, 5)
