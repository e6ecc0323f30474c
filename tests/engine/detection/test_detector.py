"""A detector on every kind of backbone: its weights, what it learns, and where its boxes are."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import create_untrained
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.detection.detector import pyramid_strides
from bob_gauntlet.errors import MissingError
from tests.helpers import shapes, tiny

KINDS = tuple(shapes.KINDS)
ROOT = Path(__file__).parents[3]
# a convolutional network with BatchNorm, a windowed transformer, a plain transformer
DIFFERENT = ("resnet", "swin v2", "vit 14")


def two_samples(divisor: int = 32) -> list[Any]:
    """Return two samples whose sides are no multiples of any stride, one high, one wide."""
    return [shapes.sample(71, 45, divisor), shapes.sample(50, 83, divisor, seed=1)]


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_backbone_is_there(kind: str, mode: str) -> None:
    """The copy has the same bits, also in buffers, in other memory, and the backbone itself is unchanged."""
    backbone = shapes.backbone(kind)
    before = shapes.copy_state(backbone.module)
    with shapes.nothing_missing():
        detector = shapes.detector(backbone, mode, drop_path=0.2)
    assert shapes.changed_names(before, shapes.copy_state(detector.backbone_copy.module)) == set()
    assert shapes.changed_names(before, shapes.copy_state(backbone.module)) == set()
    addresses = {tensor.data_ptr() for tensor in backbone.module.state_dict().values() if tensor.numel()}
    assert addresses.isdisjoint(tensor.data_ptr() for tensor in detector.state_dict().values() if tensor.numel())
    kept = {name.removeprefix("model.backbone.module.") for name in detector.state_dict()}
    assert set(backbone.module.state_dict()) <= kept


@pytest.mark.parametrize("kind", KINDS)
def test_scratch_is_a_network_of_its_seed(kind: str) -> None:
    """A backbone from scratch is initialised by timm from the seed, whatever the weights of the backbone."""
    backbone = shapes.backbone(kind)
    with shapes.nothing_missing():
        first, same, other = (shapes.copy_state(shapes.detector(backbone, "scratch", seed)) for seed in (0, 0, 1))
    assert shapes.changed_names(first, same) == set()
    prefix = "model.backbone.module."
    backbone_state = {name.removeprefix(prefix): tensor for name, tensor in first.items() if name.startswith(prefix)}
    weights = [name for name, tensor in backbone.module.named_parameters() if tensor.ndim > 1]
    assert set(weights) <= shapes.changed_names(shapes.copy_state(backbone.module), backbone_state)
    assert {name for name in shapes.changed_names(first, other) if name.startswith(prefix)}
    untrained = create_untrained(replace(backbone.spec, seed=0))
    assert untrained is not None
    assert shapes.changed_names(shapes.copy_state(untrained), backbone_state) == set()


def test_the_heads_are_the_seeds() -> None:
    """The same seed gives the same heads, and another seed gives others."""
    backbone = shapes.backbone()
    first, same, other = (shapes.copy_state(shapes.detector(backbone, "frozen", seed)) for seed in (0, 0, 1))
    assert shapes.changed_names(first, same) == set()
    assert {"model.neck.then.fpn_convs.0.conv.weight", "model.rpn_head.rpn_conv.weight"} <= shapes.changed_names(
        first, other
    )


def test_heads_are_initialised_by_mmdet() -> None:
    """The classifiers start near zero, with mmdet's standard deviation of 0.01."""
    detector = shapes.detector(heads=replace(shapes.HEADS, linear=256))
    weight = detector.model.roi_head.bbox_head[0].fc_cls.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_reaches_what_learns(kind: str, mode: str) -> None:
    """The loss of images of several sizes is finite, with gradients for the heads and for a backbone that learns."""
    backbone = shapes.backbone(kind)
    detector = shapes.detector(backbone, mode).train()
    seen: list[bool] = []
    detector.model.backbone.register_forward_hook(lambda *call: seen.extend(level.requires_grad for level in call[2]))
    torch.manual_seed(0)
    loss = detector.loss(two_samples(32 if kind != "vit 14" else 42))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    learning = [p for p in detector.backbone_copy.module.parameters() if p.grad is not None]
    parameters = list(detector.backbone_copy.module.parameters())
    if mode == "frozen":
        assert learning == []
        assert not any(parameter.requires_grad for parameter in parameters)
    else:
        # the maps of some networks do not depend on their last norm or prefix tokens
        assert len(learning) > 0.8 * len(parameters)
        assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in parameters[:3])
    assert seen == [mode != "frozen"] * len(pyramid_strides(backbone))
    heads = [p for n, p in detector.model.named_parameters() if n.startswith(("rpn_head", "roi_head", "neck"))]
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in heads)


def test_gradients_flow_to_the_first_layer() -> None:
    """The first layer of a backbone gets a gradient, also if a user's factory has frozen it."""
    backbone = shapes.backbone()
    backbone.module.requires_grad_(False)
    detector = shapes.detector(backbone).train()
    detector.loss(two_samples()).backward()
    first = next(iter(detector.backbone_copy.module.parameters()))
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def statistics(names: set[str]) -> set[str]:
    """Return the names that are statistics of BatchNorm."""
    return {name for name in names if name.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_nothing_of_a_frozen_backbone_moves(kind: str) -> None:
    """Training steps with weight decay change no weight and no statistic, and it stays in evaluation mode."""
    detector = shapes.detector(shapes.backbone(kind), "frozen", drop_path=0.5)
    assert shapes.changed_names(*shapes.train_steps(detector)) == set()
    assert not detector.train().backbone_copy.module.training
    assert detector.drop_path == 0.0
    assert not any(name.startswith("model.backbone.") for name in detector.learned_state())


@pytest.mark.parametrize(
    ("mode", "pretrained", "moves"),
    [("finetune", True, False), ("finetune", False, True), ("scratch", True, True), ("scratch", False, True)],
)
def test_whose_statistics_move(mode: str, pretrained: bool, moves: bool) -> None:
    """The statistics of BatchNorm change unless a pretrained backbone is fine-tuned."""
    detector = shapes.detector(shapes.backbone("resnet", pretrained=pretrained), mode)
    changed = shapes.changed_names(*shapes.train_steps(detector, 1))
    assert bool(statistics(changed)) == moves
    assert changed - statistics(changed)
    assert any(name.startswith("model.backbone.") for name in detector.learned_state())
    training = {m.training for m in detector.train().backbone_copy.module.modules() if isinstance(m, nn.BatchNorm2d)}
    assert training == {moves}
    assert not any(module.training for module in detector.eval().modules())


def test_learned_comes_back() -> None:
    """Another detector of the same design has the same state after it has loaded the learned state."""
    detector = shapes.detector(mode="frozen")
    shapes.train_steps(detector, 1)
    again = shapes.detector(mode="frozen", seed=5)
    again.load_learned_state(detector.learned_state())
    assert shapes.changed_names(shapes.copy_state(detector), shapes.copy_state(again)) == set()


def test_stochastic_depth_is_that_of_the_design() -> None:
    """`drop_path` is the rate of the design where the architecture supports it, otherwise 0."""
    for kind, rate in (("convnext", 0.3), ("swin", 0.3), ("vit 16", 0.3), ("regnet", 0.3)):
        detector = shapes.detector(shapes.backbone(kind), drop_path=0.3)
        rates = [m.drop_prob for m in detector.backbone_copy.module.modules() if type(m).__name__ == "DropPath"]
        assert detector.drop_path == rate
        assert max(rates) == pytest.approx(0.3)
    detector = shapes.detector(as_factory_backbone(shapes.backbone("convnext")), drop_path=0.3)
    assert detector.drop_path == 0.0


def test_everything_decays_and_learns_at_one_rate() -> None:
    """As in the paper's code there is no layer decay, and biases and norms decay too."""
    detector = shapes.detector()
    [group] = detector.parameter_groups(0.05, None)
    assert group["weight_decay"] == 0.05
    assert len(group["params"]) == len(list(detector.parameters()))
    [group] = shapes.detector(mode="frozen").parameter_groups(0.05, None)
    assert len(group["params"]) == len(list(detector.model.parameters())) - len(
        list(detector.backbone_copy.module.parameters())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_strides_are_those_of_the_maps(kind: str) -> None:
    """The anchors have the strides of all maps, and the regions are read from all maps but the last."""
    backbone = shapes.backbone(kind)
    detector = shapes.detector(backbone, "frozen").eval()
    unit = 64 if kind != "vit 14" else 56
    images, _ = detector._inputs([shapes.sample(2 * unit, unit, unit)])
    with torch.no_grad():
        maps = detector.model.extract_feat(images)
    strides = [stride for stride, _ in detector.model.rpn_head.prior_generator.strides]
    assert [tuple(level.shape[2:]) for level in maps] == [(2 * unit / stride, unit / stride) for stride in strides]
    assert detector.model.roi_head.bbox_roi_extractor[0].featmap_strides == strides[:-1]
    assert detector.model.roi_head.mask_roi_extractor[0].featmap_strides == strides[:-1]
    assert len(strides) == 5
    used = pyramid_strides(backbone)
    assert strides == ([used[0] * s for s in (0.25, 0.5, 1, 2, 4)] if len(used) == 1 else [*used, 2 * used[-1]])


@pytest.mark.parametrize("kind", DIFFERENT)
def test_detections_are_in_pixels_of_the_original(kind: str) -> None:
    """If the original is twice as large, boxes are twice as large, and masks have its size."""
    detector = shapes.detector(shapes.backbone(kind), "frozen").eval()
    sample = shapes.sample(71, 45, 32 if kind != "vit 14" else 42)
    [small], [large] = detector.detect([sample]), detector.detect([replace(sample, original=(142, 90))])
    assert len(small.bboxes) == shapes.HEADS.detections
    assert torch.allclose(2 * small.bboxes, large.bboxes, atol=1e-3)
    assert torch.equal(small.scores, large.scores)
    assert tuple(small.masks.shape) == (5, 71, 45)
    assert tuple(large.masks.shape) == (5, 142, 90)
    assert small.masks.dtype == torch.bool
    assert small.bboxes.min() >= 0
    assert small.bboxes[:, 0::2].max() <= 45
    assert small.bboxes[:, 1::2].max() <= 71


def test_boxes_are_the_same_without_their_masks() -> None:
    """Without `masks` the boxes and labels are the same."""
    detector = shapes.detector().eval()
    [whole], [bare] = (detector.detect([shapes.sample(71, 45)], masks=masks) for masks in (True, False))
    assert "masks" not in bare
    assert torch.equal(whole.bboxes, bare.bboxes)
    assert torch.equal(whole.labels, bare.labels)


def test_a_detector_of_boxes_alone() -> None:
    """Without mask heads it trains on samples without masks, and its detections have none."""
    detector = shapes.detector(heads=replace(shapes.HEADS, masks=False))
    assert not any("mask" in name for name, _ in detector.named_parameters())
    shapes.train_steps(detector, 1)
    detector.train().loss([replace(sample, masks=None) for sample in two_samples()]).backward()
    [instances] = detector.eval().detect([shapes.sample(71, 45)])
    assert "masks" not in instances
    assert len(instances.bboxes) == 5


def test_an_image_without_objects_has_a_loss() -> None:
    """The loss is finite for an image without objects, which a crop may leave."""
    empty = shapes.sample(64, 64)
    empty = replace(empty, boxes=empty.boxes[:0], labels=empty.labels[:0], masks=torch.zeros(0, 64, 64).byte())
    for samples in ([empty], [empty, shapes.sample(64, 64)]):
        detector = shapes.detector().train()
        loss = detector.loss(samples)
        loss.backward()
        assert torch.isfinite(loss)


def test_the_input_is_what_the_backbone_was_trained_with() -> None:
    """Pixels are normalised by the backbone's mean and deviation, or ImageNet's, and the padding is 0."""
    backbone = shapes.backbone()
    backbone.identity = replace(backbone.identity, transform=InputTransform(size=64, mean=(0.5,) * 3, std=(0.25,) * 3))
    sample = shapes.sample(50, 40)
    for imagenet in (False, True):
        images, _ = shapes.detector(backbone, imagenet_pixels=imagenet)._inputs([sample, shapes.sample(33, 70)])
        mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if imagenet else ((0.5,) * 3, (0.25,) * 3)
        expected = (sample.image / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        assert tuple(images.shape) == (2, 3, 64, 96)
        assert torch.allclose(images[0, :, :50, :40], expected, atol=1e-5)
        assert images[0, :, 50:].abs().max() == images[0, :, :, 40:].abs().max() == 0


def test_half_precision_leaves_regions_where_they_are() -> None:
    """Under bfloat16 RoIAlign reads float32 regions, and the loss has a gradient."""
    detector = shapes.detector().train()
    dtypes: set[torch.dtype] = set()
    for layer in detector.model.roi_head.bbox_roi_extractor[0].roi_layers:
        layer.register_forward_pre_hook(lambda module, given: dtypes.update(each.dtype for each in given))
    with torch.autocast("cpu", torch.bfloat16):
        loss = detector.loss(two_samples())
    loss.backward()
    assert dtypes == {torch.float32}


def as_factory_backbone(backbone: Backbone) -> Backbone:
    """Return the backbone as if a factory of the user had made it."""
    return Backbone(replace(backbone.spec, scheme="factory"), backbone.module, backbone.identity)


def test_a_network_that_is_not_timms() -> None:
    """It is copied as it is and can be trained, but it cannot be built from scratch."""
    backbone = as_factory_backbone(shapes.backbone("vit 16"))
    detector = shapes.detector(backbone)
    assert (
        shapes.changed_names(shapes.copy_state(backbone.module), shapes.copy_state(detector.backbone_copy.module))
        == set()
    )
    shapes.train_steps(detector, 1)
    assert shapes.changed_names(shapes.copy_state(backbone.module), shapes.copy_state(detector.backbone_copy.module))
    with pytest.raises(MissingError, match="vit 16 comes from a factory; only a timm network can be built untrained"):
        shapes.detector(backbone, "scratch")


def with_strides(*strides: int) -> Backbone:
    """Return a ConvNeXt whose identity states these strides."""
    backbone = shapes.backbone("convnext")
    backbone.identity = replace(backbone.identity, traits=replace(backbone.identity.traits, strides=strides))
    return backbone


def test_the_strides_of_a_pyramid() -> None:
    """The strides from 4 on are used."""
    assert pyramid_strides(with_strides(2, 4, 8, 16, 32)) == (4, 8, 16, 32)
    assert pyramid_strides(with_strides(1, 8, 16)) == (8, 16)
    assert pyramid_strides(with_strides(14)) == (14,)


@pytest.mark.parametrize(
    ("strides", "message"),
    [((), "convnext gives no feature maps"), ((2,), "no feature maps"), ((4, 16, 32), r"of strides \(4, 16, 32\)")],
)
def test_maps_without_a_pyramid_are_refused(strides: tuple[int, ...], message: str) -> None:
    """It is an error if there is no map, or if a stride is missing between them."""
    with pytest.raises(MissingError, match=message):
        shapes.detector(with_strides(*strides))


def test_a_network_that_takes_its_own_size_alone() -> None:
    """A network that does not take images of other sizes is refused in one line."""
    with pytest.raises(MissingError, match=r"vit 8 does not take images of any size \(.*64.*\)") as error:
        shapes.detector(shapes.backbone("vit 8", dynamic_img_size=False))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("before", [None, "another"])
def test_the_scope_of_mmengine_is_left_as_it_was(before: str | None) -> None:
    """mmengine's default scope, which is global, is the same after a detector was built."""
    from mmengine.registry import DefaultScope, init_default_scope

    shapes.detector()
    if before:
        init_default_scope(before)
    earlier = DefaultScope.get_current_instance()
    shapes.detector()
    later = DefaultScope.get_current_instance()
    assert (later and later.scope_name) == (earlier and earlier.scope_name)
    assert before is None or later.scope_name == before


QUIET = """
import torch
torch.set_num_threads(1)
from tests.helpers import shapes
for kind in ("resnet", "vit 16"):
    detector = shapes.detector(shapes.backbone(kind))
    shapes.train_steps(detector, 1)
    detector.eval().detect([shapes.sample(71, 45)])
"""


def test_nothing_is_printed_or_written(tmp_path: Path) -> None:
    """mmdet and mmengine print nothing and create no folders in training and detection."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, "-W", "default", "-c", QUIET], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_seeds_outside_are_left_alone() -> None:
    """Building a detector does not change torch's global random state."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    for mode in ("finetune", "scratch"):
        torch.manual_seed(7)
        shapes.detector(mode=mode)
        assert torch.equal(torch.rand(3), expected)
    assert tiny.identical(shapes.copy_state(shapes.detector()), shapes.copy_state(shapes.detector()))
