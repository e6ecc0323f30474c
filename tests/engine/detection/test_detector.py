"""A detector on every kind of backbone: whose weights it has, what it learns, and where its boxes lie."""

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
from bob_gauntlet.engine.detection.data_loading import create_detection_loader
from bob_gauntlet.engine.detection.detector import Detector, pyramid_strides
from bob_gauntlet.engine.detection.trained_detector import DetectorLoss
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.errors import MissingError
from tests.helpers import shapes, tiny

KINDS = tuple(shapes.KINDS)
ROOT = Path(__file__).parents[3]
# of a convolutional network with BatchNorm, of windows, of tokens
DIFFERENT = ("resnet", "swin v2", "vit 14")

State = dict[str, torch.Tensor]


def state(module: nn.Module) -> State:
    """A copy of all tensors, also those that no checkpoint has."""
    return {
        name: tensor.detach().clone() for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }  # fmt: skip


def moved(before: State, after: State) -> set[str]:
    """The names of those that differ."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def mixed(divisor: int = 32) -> list[Any]:
    """Two images that are no multiple of any stride, one high, one wide."""
    return [shapes.sample(71, 45, divisor), shapes.sample(50, 83, divisor, seed=1)]


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_backbone_is_there(kind: str, mode: str) -> None:
    """Bit for bit, buffers too: neither mmdet nor timm initialises them anew. The backbone itself is left alone."""
    backbone = shapes.backbone(kind)
    before = state(backbone.module)
    with shapes.nothing_missing():
        made = shapes.detector(backbone, mode, drop_path=0.2)
    assert moved(before, state(made.backbone_copy.module)) == set()
    assert moved(before, state(backbone.module)) == set()
    own = {tensor.data_ptr() for tensor in backbone.module.state_dict().values() if tensor.numel()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in made.state_dict().values() if tensor.numel())
    kept = {name.removeprefix("model.backbone.module.") for name in made.state_dict()}
    assert set(backbone.module.state_dict()) <= kept


@pytest.mark.parametrize("kind", KINDS)
def test_scratch_is_a_network_of_its_seed(kind: str) -> None:
    """As timm initialises it, whatever the backbone had learned."""
    backbone = shapes.backbone(kind)
    with shapes.nothing_missing():
        first, same, other = (state(shapes.detector(backbone, "scratch", seed)) for seed in (0, 0, 1))
    assert moved(first, same) == set()
    place = "model.backbone.module."
    own = {name.removeprefix(place): tensor for name, tensor in first.items() if name.startswith(place)}
    weights = [name for name, tensor in backbone.module.named_parameters() if tensor.ndim > 1]
    assert set(weights) <= moved(state(backbone.module), own)
    assert {name for name in moved(first, other) if name.startswith(place)}
    timms = create_untrained(replace(backbone.spec, seed=0))
    assert timms is not None
    assert moved(state(timms), own) == set()


def test_the_heads_are_the_seeds() -> None:
    """In every mode."""
    backbone = shapes.backbone()
    first, same, other = (state(shapes.detector(backbone, "frozen", seed)) for seed in (0, 0, 1))
    assert moved(first, same) == set()
    assert {"model.neck.then.fpn_convs.0.conv.weight", "model.rpn_head.rpn_conv.weight"} <= moved(first, other)


def test_heads_are_initialised_by_mmdet() -> None:
    """Its classifiers start near zero (standard deviation 0.01), not as torch makes them."""
    made = shapes.detector(heads=replace(shapes.HEADS, linear=256))
    weight = made.model.roi_head.bbox_head[0].fc_cls.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_reaches_what_learns(kind: str, mode: str) -> None:
    """Of images of several sizes: finite; a gradient for the heads, and for a backbone that learns."""
    backbone = shapes.backbone(kind)
    made = shapes.detector(backbone, mode).train()
    seen: list[bool] = []
    made.model.backbone.register_forward_hook(lambda *call: seen.extend(one.requires_grad for one in call[2]))
    torch.manual_seed(0)
    loss = made.loss(mixed(32 if kind != "vit 14" else 42))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    learning = [p for p in made.backbone_copy.module.parameters() if p.grad is not None]
    parameters = list(made.backbone_copy.module.parameters())
    if mode == "frozen":
        assert learning == []
        assert not any(parameter.requires_grad for parameter in parameters)
    else:
        # some networks have a last norm or prefix tokens that no map depends on
        assert len(learning) > 0.8 * len(parameters)
        assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in parameters[:3])
    assert seen == [mode != "frozen"] * len(pyramid_strides(backbone))
    heads = [p for n, p in made.model.named_parameters() if n.startswith(("rpn_head", "roi_head", "neck"))]
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in heads)


def test_gradients_flow_to_the_first_layer() -> None:
    """Of a backbone that a user's factory left frozen."""
    backbone = shapes.backbone()
    backbone.module.requires_grad_(False)
    made = shapes.detector(backbone).train()
    made.loss(mixed()).backward()
    first = next(iter(made.backbone_copy.module.parameters()))
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def stepped(made: Detector, steps: int = 3, lr: float = 1e-2) -> tuple[State, State]:
    """State of the backbone, before and after steps of a real training."""
    # 32 is no multiple of a patch of 14 pixels
    scaling = replace(shapes.SCALING, divisor=42 if made.backbone_copy.name == "vit 14" else 32)
    loader = create_detection_loader(shapes.split(8), scaling, masks=made.design.heads.masks, batch_size=4, seed=0)
    before = state(made.backbone_copy.module)
    config = shapes.config(lr=lr, epochs=9, max_steps=steps)
    trainer = Trainer(made, config, loader, DetectorLoss(), 0, "cpu")
    heads = state(made.model.roi_head)
    while not trainer.finished:
        trainer.train_epoch(lambda count: None)
    assert trainer.state.steps == steps
    assert moved(heads, state(made.model.roi_head))
    return before, state(made.backbone_copy.module)


def statistics(names: set[str]) -> set[str]:
    """Of BatchNorm."""
    return {name for name in names if name.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_nothing_of_a_frozen_backbone_moves(kind: str) -> None:
    """No weight, no statistic, in steps of a training with weight decay; it stays in evaluation mode."""
    made = shapes.detector(shapes.backbone(kind), "frozen", drop_path=0.5)
    assert moved(*stepped(made)) == set()
    assert not made.train().backbone_copy.module.training
    assert made.drop_path == 0.0
    assert not any(name.startswith("model.backbone.") for name in made.learned_state())


@pytest.mark.parametrize(
    ("mode", "pretrained", "moves"),
    [("finetune", True, False), ("finetune", False, True), ("scratch", True, True), ("scratch", False, True)],
)
def test_whose_statistics_move(mode: str, pretrained: bool, moves: bool) -> None:
    """Those of BatchNorm stay where training goes on from weights that have good ones."""
    made = shapes.detector(shapes.backbone("resnet", pretrained=pretrained), mode)
    changed = moved(*stepped(made, 1))
    assert bool(statistics(changed)) == moves
    assert changed - statistics(changed)
    assert any(name.startswith("model.backbone.") for name in made.learned_state())
    training = {m.training for m in made.train().backbone_copy.module.modules() if isinstance(m, nn.BatchNorm2d)}
    assert training == {moves}
    assert not any(module.training for module in made.eval().modules())


def test_learned_comes_back() -> None:
    """Into another detector of the same design, with the backbone's own weights where it is frozen."""
    made = shapes.detector(mode="frozen")
    stepped(made, 1)
    again = shapes.detector(mode="frozen", seed=5)
    again.load_learned_state(made.learned_state())
    assert moved(state(made), state(again)) == set()


def test_stochastic_depth_is_the_designs() -> None:
    """Where the architecture takes it; the rate that was taken is told."""
    for kind, taken in (("convnext", 0.3), ("swin", 0.3), ("vit 16", 0.3), ("regnet", 0.3)):
        made = shapes.detector(shapes.backbone(kind), drop_path=0.3)
        rates = [m.drop_prob for m in made.backbone_copy.module.modules() if type(m).__name__ == "DropPath"]
        assert made.drop_path == taken
        assert max(rates) == pytest.approx(0.3)
    made = shapes.detector(factory(shapes.backbone("convnext")), drop_path=0.3)
    assert made.drop_path == 0.0


def test_everything_decays_and_learns_at_one_rate() -> None:
    """PROTOCOLS 1.7: no layer decay, no exemption of biases and norms."""
    made = shapes.detector()
    [group] = made.parameter_groups(0.05, None)
    assert group["weight_decay"] == 0.05
    assert len(group["params"]) == len(list(made.parameters()))
    [group] = shapes.detector(mode="frozen").parameter_groups(0.05, None)
    assert len(group["params"]) == len(list(made.model.parameters())) - len(
        list(made.backbone_copy.module.parameters())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_sought_where_the_maps_say(kind: str) -> None:
    """The anchors' strides are those of the maps, which the regions are read from but for the last."""
    backbone = shapes.backbone(kind)
    made = shapes.detector(backbone, "frozen").eval()
    unit = 64 if kind != "vit 14" else 56
    images, _ = made._inputs([shapes.sample(2 * unit, unit, unit)])
    with torch.no_grad():
        maps = made.model.extract_feat(images)
    strides = [stride for stride, _ in made.model.rpn_head.prior_generator.strides]
    assert [tuple(one.shape[2:]) for one in maps] == [(2 * unit / stride, unit / stride) for stride in strides]
    assert made.model.roi_head.bbox_roi_extractor[0].featmap_strides == strides[:-1]
    assert made.model.roi_head.mask_roi_extractor[0].featmap_strides == strides[:-1]
    assert len(strides) == 5
    own = pyramid_strides(backbone)
    assert strides == ([own[0] * s for s in (0.25, 0.5, 1, 2, 4)] if len(own) == 1 else [*own, 2 * own[-1]])


@pytest.mark.parametrize("kind", DIFFERENT)
def test_detections_are_in_pixels_of_the_original(kind: str) -> None:
    """The same image as the half of one: boxes twice as large, masks of that size."""
    made = shapes.detector(shapes.backbone(kind), "frozen").eval()
    scene = shapes.sample(71, 45, 32 if kind != "vit 14" else 42)
    [small], [large] = made.detect([scene]), made.detect([replace(scene, original=(142, 90))])
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
    """Where they are not wanted."""
    made = shapes.detector().eval()
    [whole], [bare] = (made.detect([shapes.sample(71, 45)], masks=masks) for masks in (True, False))
    assert "masks" not in bare
    assert torch.equal(whole.bboxes, bare.bboxes)
    assert torch.equal(whole.labels, bare.labels)


def test_a_detector_of_boxes_alone() -> None:
    """Cascade R-CNN: it asks for no masks and gives none."""
    made = shapes.detector(heads=replace(shapes.HEADS, masks=False))
    assert not any("mask" in name for name, _ in made.named_parameters())
    stepped(made, 1)
    made.train().loss([replace(scene, masks=None) for scene in mixed()]).backward()
    [found] = made.eval().detect([shapes.sample(71, 45)])
    assert "masks" not in found
    assert len(found.bboxes) == 5


def test_an_image_without_objects_has_a_loss() -> None:
    """A crop may have lost them all."""
    empty = shapes.sample(64, 64)
    empty = replace(empty, boxes=empty.boxes[:0], labels=empty.labels[:0], masks=torch.zeros(0, 64, 64).byte())
    for scenes_of in ([empty], [empty, shapes.sample(64, 64)]):
        made = shapes.detector().train()
        loss = made.loss(scenes_of)
        loss.backward()
        assert torch.isfinite(loss)


def test_the_input_is_what_the_backbone_was_trained_with() -> None:
    """Normalised by its own mean and deviation, or ImageNet's; beyond an image there is their mean."""
    backbone = shapes.backbone()
    backbone.identity = replace(backbone.identity, transform=InputTransform(size=64, mean=(0.5,) * 3, std=(0.25,) * 3))
    scene = shapes.sample(50, 40)
    for imagenet in (False, True):
        images, _ = shapes.detector(backbone, imagenet_pixels=imagenet)._inputs([scene, shapes.sample(33, 70)])
        mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if imagenet else ((0.5,) * 3, (0.25,) * 3)
        expected = (scene.image / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        assert tuple(images.shape) == (2, 3, 64, 96)
        assert torch.allclose(images[0, :, :50, :40], expected, atol=1e-5)
        assert images[0, :, 50:].abs().max() == images[0, :, :, 40:].abs().max() == 0


def test_half_precision_leaves_regions_where_they_are() -> None:
    """Under bfloat16 corners of regions are float32 when RoIAlign reads them, and the loss has its gradient."""
    made = shapes.detector().train()
    dtypes: set[torch.dtype] = set()
    for layer in made.model.roi_head.bbox_roi_extractor[0].roi_layers:
        layer.register_forward_pre_hook(lambda module, given: dtypes.update(each.dtype for each in given))
    with torch.autocast("cpu", torch.bfloat16):
        loss = made.loss(mixed())
    loss.backward()
    assert dtypes == {torch.float32}


def factory(backbone: Backbone) -> Backbone:
    """As if a user's function had made it."""
    return Backbone(replace(backbone.spec, scheme="factory"), backbone.module, backbone.identity)


def test_a_network_that_is_not_timms() -> None:
    """It is copied as it is; nobody can build it anew."""
    backbone = factory(shapes.backbone("vit 16"))
    made = shapes.detector(backbone)
    assert moved(state(backbone.module), state(made.backbone_copy.module)) == set()
    stepped(made, 1)
    assert moved(state(backbone.module), state(made.backbone_copy.module))
    with pytest.raises(MissingError, match="vit 16 comes from a factory; only a timm network can be built untrained"):
        shapes.detector(backbone, "scratch")


def with_strides(*strides: int) -> Backbone:
    """Return a ConvNeXt whose identity states these strides."""
    backbone = shapes.backbone("convnext")
    backbone.identity = replace(backbone.identity, traits=replace(backbone.identity.traits, strides=strides))
    return backbone


def test_the_strides_of_a_pyramid() -> None:
    """From 4 on."""
    assert pyramid_strides(with_strides(2, 4, 8, 16, 32)) == (4, 8, 16, 32)
    assert pyramid_strides(with_strides(1, 8, 16)) == (8, 16)
    assert pyramid_strides(with_strides(14)) == (14,)


@pytest.mark.parametrize(
    ("strides", "said"),
    [((), "convnext gives no feature maps"), ((2,), "no feature maps"), ((4, 16, 32), r"of strides \(4, 16, 32\)")],
)
def test_maps_that_no_pyramid_stands_on(strides: tuple[int, ...], said: str) -> None:
    """None, or a gap between them."""
    with pytest.raises(MissingError, match=said):
        shapes.detector(with_strides(*strides))


def test_a_network_that_takes_its_own_size_alone() -> None:
    """And which nothing makes take another."""
    with pytest.raises(MissingError, match=r"vit 8 does not take images of any size \(.*64.*\)") as error:
        shapes.detector(shapes.backbone("vit 8", dynamic_img_size=False))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("before", [None, "mine"])
def test_the_scope_of_mmengine_is_left_as_it_was(before: str | None) -> None:
    """It is the process's; somebody else may have set it."""
    from mmengine.registry import DefaultScope, init_default_scope

    shapes.detector()
    if before:
        init_default_scope(before)
    found = DefaultScope.get_current_instance()
    shapes.detector()
    now = DefaultScope.get_current_instance()
    assert (now and now.scope_name) == (found and found.scope_name)
    assert before is None or now.scope_name == before


QUIET = """
import torch
torch.set_num_threads(1)
from tests.helpers import shapes
from tests.engine.detection.test_detector import stepped
for kind in ("resnet", "vit 16"):
    made = shapes.detector(shapes.backbone(kind))
    stepped(made, 1)
    made.eval().detect([shapes.sample(71, 45)])
"""


def test_nothing_is_printed_or_written(tmp_path: Path) -> None:
    """By mmdet and mmengine, which would log each parameter and make folders for their work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, "-W", "default", "-c", QUIET], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_seeds_outside_are_left_alone() -> None:
    """Building draws from generators of its own."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    for mode in ("finetune", "scratch"):
        torch.manual_seed(7)
        shapes.detector(mode=mode)
        assert torch.equal(torch.rand(3), expected)
    assert tiny.identical(state(shapes.detector()), state(shapes.detector()))
