"""Tests of filling a network from a checkpoint: the right network of the file and the whole of it, or a refusal.

Checkpoints are state dicts of timm's test networks under the names that published files use.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.checkpoint_fit import fit
from bob_gauntlet.backbones.checkpoints import Tensors
from bob_gauntlet.backbones.filling import fill, fill_in_order
from bob_gauntlet.backbones.loading import identify, load
from bob_gauntlet.backbones.resolve import resolve_all
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.config import UserConfig
from bob_gauntlet.errors import UsageError
from bob_gauntlet.runtime.artifacts import Artifacts

SPECIAL = "blocks.1.mlp.fc1.weight"


def tiny(name: str = "test_vit", classes: int = 0, seed: int = 0, **arguments: Any) -> nn.Module:
    """Return one of timm's test networks with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = timm.create_model(name, num_classes=classes, **arguments)
    return module


def weights(name: str = "test_vit", classes: int = 0, seed: int = 1, **arguments: Any) -> Tensors:
    """Return the state dict of one of timm's test networks."""
    return dict(tiny(name, classes, seed, **arguments).state_dict())


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors with a prefix before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def same(one: Tensors, other: Tensors) -> bool:
    """Return whether two sets of tensors have equal names and values."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in other)


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Tensors]:
    """Return a function that makes weights of test_vit with one tensor changed."""

    def make() -> Tensors:
        tensors = weights()
        return {**tensors, name: change(tensors[name])}

    return make


def quantised(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor in torch's own format of 8 bits, which torch means to remove."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def to_openai_clip(tensors: Tensors) -> Tensors:
    """Return the weights of a vision transformer under the names of OpenAI's CLIP, with a part of its text tower."""
    names = (
        ("patch_embed.proj", "conv1"), ("norm_pre", "ln_pre"), ("blocks.", "transformer.resblocks."), ("norm1", "ln_1"),
        ("norm2", "ln_2"), ("qkv.", "in_proj_"), ("attn.proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"), ("norm.", "ln_post."),
    )  # fmt: skip
    renamed = {"text_projection": torch.zeros(3, 3), "visual.proj": torch.zeros(64, 7)}
    for name, tensor in tensors.items():
        for ours, in_clip in names:
            name = name.replace(ours, in_clip)
        renamed[f"visual.{name}"] = tensor
    renamed["visual.class_embedding"] = renamed.pop("visual.cls_token")[0, 0]
    renamed["visual.positional_embedding"] = renamed.pop("visual.pos_embed")[0]
    return renamed


def moco() -> dict[str, Any]:
    """Return a checkpoint as MoCo v2 saves it: two encoders with projectors, and a queue."""
    query = {**weights("test_resnet"), "fc.0.weight": torch.zeros(2, 2), "fc.2.weight": torch.zeros(2, 2)}
    key = weights("test_resnet", seed=2)
    queue = {"module.queue": torch.zeros(3, 3)}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(2)}}}
    state_dict = {**prefixed("module.encoder_q.", query), **prefixed("module.encoder_k.", key), **queue}
    return {"epoch": 200, "state_dict": state_dict, "optimizer": optimizer}


def dino() -> dict[str, Any]:
    """Return a checkpoint as DINO saves it: a student under DistributedDataParallel, and a teacher."""
    head = {"head.mlp.0.weight": torch.zeros(2, 2)}
    student = {**prefixed("module.backbone.", weights(seed=2)), **prefixed("module.", head)}
    return {"student": student, "teacher": {**prefixed("backbone.", weights()), **head}}


def dinov2() -> Tensors:
    """Return a checkpoint as DINOv2 saves it: registers under another name, a position embedding for the class token.

    timm adds that embedding, zero here, to the class token.
    """
    tensors = weights(reg_tokens=2, no_embed_class=True)
    tensors["register_tokens"] = tensors.pop("reg_token")
    tensors["pos_embed"] = torch.cat([torch.zeros(1, 1, 64), tensors["pos_embed"]], dim=1)
    return {**tensors, "mask_token": torch.zeros(1, 64)}


def mae() -> dict[str, Any]:
    """Return a checkpoint as MAE saves it: encoder, decoder and mask token."""
    decoder = {"decoder_blocks.0.attn.qkv.weight": torch.zeros(2, 2), "decoder_pred.bias": torch.zeros(2)}
    return {"model": {**weights(), **decoder, "mask_token": torch.zeros(1, 1, 2)}}


@pytest.fixture(autouse=True)
def one_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one architecture only in guesses of the right one, which take seconds otherwise."""
    monkeypatch.setattr("bob_gauntlet.backbones.architecture_guess.SECONDS", 0.0)


def save(folder: Path, content: Mapping[str, Any], name: str = "w.pth") -> Path:
    """Write a checkpoint."""
    torch.save(content, folder / name)
    return folder / name


def spec_of(text: str, *, allow_partial: bool = False) -> BackboneSpec:
    """Return the spec that `--backbone` resolves the text to."""
    [spec] = resolve_all([text], UserConfig(Path("/")), allow_partial=allow_partial)
    return spec


def loaded(text: str, *, allow_partial: bool = False) -> Backbone:
    """Return the backbone that `--backbone` gives."""
    return load(spec_of(text, allow_partial=allow_partial))


def refusal(text: str, *, allow_partial: bool = False) -> str:
    """Return the one-line error with which a backbone is refused."""
    with pytest.raises(UsageError) as caught:
        loaded(text, allow_partial=allow_partial)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@dataclass(frozen=True)
class Refused:
    """A checkpoint that is refused: the architecture that it is loaded into, how it is made, and texts of the error."""

    name: str
    target: str
    make: Callable[[], Mapping[str, Any]]
    message: tuple[str, ...]


REFUSED = (
    Refused(
        "deeper ResNet", "test_resnet", lambda: weights("test_resnet", layers=(2, 1, 1, 1)),
        ("w.pth does not fit ResNet", "10 more than the network has (layer1.1.conv1.weight", "it fills 100%"),
    ),
    Refused(
        "deeper ViT", "test_vit", lambda: weights(depth=8),
        ("24 more than the network has (blocks.6.norm1.weight", "It fits timm:test_vit,depth=8: name that"),
    ),
    Refused(
        "deeper ViT with heads of its own", "test_vit,num_heads=4", lambda: weights(depth=7),
        ("It fits timm:test_vit,num_heads=4,depth=7: name that",),
    ),
    Refused(
        "layer scale", "test_vit", lambda: weights(init_values=1e-5),
        ("12 more than the network has (blocks.0.ls1.gamma", "It fits timm:test_vit,init_values=1e-05: name that"),
    ),
    Refused(
        "squeeze-excitation", "test_resnet", lambda: weights("test_resnet", block_args={"attn_layer": "se"}),
        ("more than the network has (layer1.0.se.fc1.weight",),
    ),
    Refused("query and key norm", "test_vit", lambda: weights(qk_norm=True), ("(blocks.0.attn.q_norm.weight",)),
    Refused(
        "registers", "test_vit,no_embed_class=True", lambda: weights(reg_tokens=2, no_embed_class=True),
        ("1 more than the network has (reg_token)", "reg_tokens=2"),
    ),
    Refused(
        "registers of DINOv2", "test_vit", lambda: {**weights(), "register_tokens": torch.zeros(1, 4, 64)},
        ("1 more than the network has (register_tokens)",),
    ),
    Refused("norm before the blocks", "test_vit", lambda: weights(pre_norm=True), ("(norm_pre.weight, norm_pre.bias",)),
    Refused(
        "patches of 32", "test_vit", lambda: weights(patch_size=32, img_size=320),
        ("1 of another shape (patch_embed.proj.weight (64, 3, 32, 32) for (64, 3, 16, 16))",
         "It fits timm:test_vit,patch_size=32: name that"),
    ),
    Refused(
        "patches of 32 in CLIP's names", "test_vit,pre_norm=True",
        lambda: to_openai_clip(weights(pre_norm=True, patch_size=32, img_size=320)),
        ("1 of another shape (patch_embed.proj.weight (64, 3, 32, 32) for (64, 3, 16, 16))",),
    ),
    Refused(
        "wider", "test_vit", lambda: weights(embed_dim=32),
        ("another shape (cls_token (1, 1, 32) for (1, 1, 64)", "it fills 0%"),
    ),
    Refused(
        "another architecture", "test_vit", lambda: weights("test_resnet"),
        ("w.pth does not fit VisionTransformer: 78 missing (cls_token, pos_embed,", "it fills 0%"),
    ),
    Refused("no tensor of it", "test_vit", lambda: {"x": torch.zeros(3)}, ("does not fit VisionTransformer",)),
    Refused(
        "two encoders", "test_resnet",
        lambda: {
            **prefixed("image_b.", weights("test_resnet")), **prefixed("image_a.", weights("test_resnet", seed=2)),
        },
        ("w.pth holds 2 networks that fit test_resnet: image_b, image_a; choose one, for example timm:test_resnet@",
         "w.pth#image_b"),
    ),
    Refused(
        "weights and their EMA", "test_vit", lambda: {"model": weights(), "model_ema": weights(seed=2)},
        ("w.pth holds 2 networks that fit test_vit: model, model_ema; choose one",),
    ),
    Refused(
        "EMA of timm's trainer", "test_vit", lambda: {"state_dict": weights(), "state_dict_ema": weights(seed=2)},
        ("holds 2 networks that fit test_vit: state_dict, state_dict_ema;",),
    ),
    Refused(
        "flat EMA", "test_vit", lambda: {**weights(), **prefixed("ema.", weights(seed=2))},
        ("holds 2 networks that fit test_vit: ., ema;",),
    ),
    Refused(
        "I-JEPA", "test_vit",
        lambda: {k: prefixed("module.", weights(seed=s)) for k, s in (("encoder", 1), ("target_encoder", 2))},
        ("holds 2 networks that fit test_vit: encoder, target_encoder;",),
    ),
    Refused("sparse", "test_vit", changed(SPECIAL, torch.Tensor.to_sparse), (f"w.pth: {SPECIAL} is sparse; save",)),
    Refused(
        "quantised", "test_vit", changed(SPECIAL, quantised),
        (f"w.pth: {SPECIAL} is quantised; save",),
    ),
    Refused(
        "8-bit", "test_vit", changed(SPECIAL, lambda t: t.to(torch.int8)),
        (f"w.pth: {SPECIAL} has numbers of type int8, as of a quantised checkpoint; save",),
    ),
    Refused(
        "complex", "test_vit", changed(SPECIAL, lambda t: t.to(torch.complex64)),
        (f"w.pth: {SPECIAL} has complex numbers; save",),
    ),
    Refused(
        "without data", "test_vit", changed(SPECIAL, lambda t: t.to("meta")), (f"w.pth: {SPECIAL} is without data",)
    ),
    Refused(
        "NaN", "test_vit", changed(SPECIAL, lambda t: t * float("nan")), (f"w.pth: {SPECIAL} holds NaN or infinity;",)
    ),
    Refused(
        "5 dimensions", "test_vit", changed(SPECIAL, lambda t: t[..., None, None, None]),
        (f"1 of another shape ({SPECIAL} (192, 64, 1, 1, 1) for (192, 64))",),
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(tmp_path: Path, case: Refused) -> None:
    """A checkpoint of another network, of several, or of tensors that are no plain numbers is refused in one line."""
    message = refusal(f"timm:{case.target}@{save(tmp_path, case.make())}")
    for text in case.message:
        assert text in message


@dataclass(frozen=True)
class Taken:
    """A checkpoint that is loaded: architecture, content, seed of the weights that are taken, notes and warnings."""

    name: str
    target: str
    make: Callable[[], Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    part: str = ""
    seed: int = 1


TAKEN = (
    Taken("as it is", "test_vit", weights),
    Taken("half precision", "test_vit", lambda: {n: t.to(torch.float16).float() for n, t in weights().items()}),
    *(
        Taken(f"prefix {prefix}", "test_resnet", lambda prefix=prefix: prefixed(f"{prefix}.", weights("test_resnet")),
              (f"{prefix} of w.pth is used",))
        for prefix in ("module", "backbone", "module.backbone", "encoder_q")
    ),
    Taken(
        "head", "test_resnet",
        lambda: {**weights("test_resnet"), "fc.weight": torch.zeros(7, 96), "fc.bias": torch.zeros(7)},
        ("not used of w.pth: fc (2 tensors)",),
    ),
    Taken("counters", "test_resnet", lambda: {**weights("test_resnet"), "layer1.0.total_ops": torch.zeros(1)}),
    Taken(
        "no counters", "test_resnet",
        lambda: {n: t for n, t in weights("test_resnet").items() if "num_batches_tracked" not in n},
    ),
    Taken(
        "MoCo v2", "test_resnet", moco,
        ("state_dict.module.encoder_q of w.pth is used by convention, and not encoder_k; not used of w.pth: "
         "module.encoder_k (90 tensors), module.encoder_q.fc (2 tensors), module.queue (1 tensor), "
         "optimizer (1 tensor)",),
    ),
    Taken(
        "MoCo v2, the other", "test_resnet", moco,
        ("state_dict.module.encoder_k of w.pth is used; not used of w.pth: module.encoder_q (92 tensors), "
         "module.queue (1 tensor), optimizer (1 tensor)",),
        part="encoder_k", seed=2,
    ),
    Taken(
        "DINO", "test_vit", dino,
        ("teacher.backbone of w.pth is used by convention, and not student; not used of w.pth: student (79 tensors), "
         "head (1 tensor)",),
    ),
    Taken(
        "flat student and teacher", "test_vit",
        lambda: {**prefixed("student.", weights(seed=2)), **prefixed("teacher.", weights())},
        ("teacher of w.pth is used by convention, and not student; not used of w.pth: student (78 tensors)",),
    ),
    Taken(
        "MAE", "test_vit", mae,
        ("model of w.pth is used; not used of w.pth: decoder_blocks (1 tensor), decoder_pred (1 tensor), "
         "mask_token (1 tensor)",),
    ),
    Taken(
        "EMA by name", "test_vit", lambda: {"model": weights(), "model_ema": weights(seed=2)},
        ("model_ema of w.pth is used; not used of w.pth: model (78 tensors)",), part="model_ema", seed=2,
    ),
    Taken(
        "weights by name", "test_vit", lambda: {"model": weights(), "model_ema": weights(seed=2)},
        ("model of w.pth is used; not used of w.pth: model_ema (78 tensors)",), part="model",
    ),
    Taken(
        "flat weights by name", "test_vit", lambda: {**weights(), **prefixed("ema.", weights(seed=2))},
        ("not used of w.pth: ema (78 tensors)",), part=".",
    ),
    Taken(
        "the larger of two encoders has more than the network", "test_resnet",
        lambda: {"small": weights("test_resnet"), "large": weights("test_resnet", seed=2, layers=(2, 1, 1, 1))},
        ("small of w.pth is used; not used of w.pth: large (102 tensors)",),
    ),
    Taken(
        "DINOv2 with registers", "test_vit,reg_tokens=2,no_embed_class=True", dinov2,
        ("not used of w.pth: mask_token (1 tensor)",),
    ),
    Taken(
        "OpenAI's CLIP", "test_vit,pre_norm=True", lambda: to_openai_clip(weights(pre_norm=True)),
        ("not used of w.pth: text_projection (1 tensor), visual (1 tensor)",),
        ("w.pth has the format of OpenAI's CLIP, which was trained with QuickGELU, and test_vit has GELU: for weights "
         "of OpenAI name an architecture with quickgelu",),
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_taken(tmp_path: Path, case: Taken) -> None:
    """The right network of a checkpoint is loaded, and what was taken, left over and is doubtful is told."""
    path = save(tmp_path, case.make())
    backbone = loaded(f"timm:{case.target}@{path}" + (f"#{case.part}" if case.part else ""))
    details = backbone.identity.details
    assert tuple(details["notes"]) == case.notes
    assert tuple(details["warnings"]) == case.warnings
    assert "partial" not in details
    expected = weights(case.target.partition(",")[0], seed=case.seed, **dict(spec_of(f"timm:{case.target}").arguments))
    if case.name == "half precision":
        expected = {name: tensor.half().float() for name, tensor in expected.items()}
    actual = {name: tensor for name, tensor in backbone.module.state_dict().items() if "num_batches" not in name}
    assert same(actual, {name: tensor for name, tensor in expected.items() if "num_batches" not in name})


NETWORKS = [*sorted(timm.list_models("test_*")), "caformer_s18", "vgg11", "deit_tiny_distilled_patch16_224"]
FAMILIES = [timm.list_models(module=module)[0] for module in timm.list_modules() if timm.list_models(module=module)]


def check_classifier(name: str) -> None:
    """Check that the weights of a network with a classifier fit the network without it; no weights are made."""
    with torch.device("meta"):
        source, target = (timm.create_model(name, num_classes=classes) for classes in (10, 0))
    fitted = fit(target, dict(source.state_dict()))
    assert (fitted.missing, fitted.differing, fitted.surplus) == ((), {}, ())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_classifier_is_no_part_of_the_network(name: str) -> None:
    """The classifier of any architecture is left over: of one layer, of two, inside another module, or two of them."""
    check_classifier(name)


NETWORK = tiny()
CONTAINERS = [*sorted({name.partition(".")[0] for name in NETWORK.state_dict()}), "norm_pre", "fc_norm", "reg_token"]
words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@settings(deadline=None, max_examples=60)
@given(names=st.sets(st.tuples(st.sampled_from([*CONTAINERS, "decoder", "projector", "head"]), words), max_size=5))
def test_what_lies_in_a_container_of_the_network_is_never_left_over(names: set[tuple[str, str]]) -> None:
    """Whatever a file has besides the weights: inside the network's modules it is surplus, elsewhere left over."""
    tensors = dict(NETWORK.state_dict())
    more = {f"{container}.extra_{word}": container for container, word in names}
    fitted = fit(NETWORK, {**tensors, **dict.fromkeys(more, torch.zeros(1))})
    assert set(fitted.surplus) == {name for name, container in more.items() if container in CONTAINERS}
    assert fitted.used == set(tensors)
    assert not fitted.missing


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_classifier_is_no_part_of_any_family(name: str) -> None:
    """The same of the first architecture of every module of timm."""
    check_classifier(name)


def test_a_network_with_quickgelu_has_no_warning(tmp_path: Path) -> None:
    """Weights in CLIP's format belong into a network with QuickGELU."""
    path = save(tmp_path, to_openai_clip(weights(pre_norm=True)))
    backbone = loaded(f"timm:test_vit,pre_norm=True,act_layer=quick_gelu@{path}")
    assert backbone.identity.details["warnings"] == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_point_is_loaded_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    """Weights of another precision fill a network in float32, which gives features."""
    backbone = loaded(f"timm:test_vit@{save(tmp_path, {n: t.to(dtype) for n, t in weights().items()})}")
    assert {tensor.dtype for tensor in backbone.module.state_dict().values()} == {torch.float32}
    assert backbone.embed(torch.zeros(1, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize("clip", [False, True])
def test_resampled_position_embeddings_are_told(tmp_path: Path, clip: bool) -> None:
    """Position embeddings of 240 px in a network of 160 px are resampled, which is said with both grids."""
    tensors = weights(img_size=240, pre_norm=clip)
    path = save(tmp_path, to_openai_clip(tensors) if clip else tensors)
    arguments = ",pre_norm=True,act_layer=quick_gelu" if clip else ""
    details = loaded(f"timm:test_vit{arguments}@{path}").identity.details
    [warning] = details["warnings"]
    assert warning.startswith("pos_embed of w.pth resampled from 15x15 to 10x10, as the network was built for")
    assert "positional" not in str(details["left_over"])
    same_size = loaded(f"timm:test_vit{arguments},img_size=240@{path}")
    assert same_size.identity.details["warnings"] == []


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    """The error names the parts that the file has."""
    path = save(tmp_path, moco())
    assert refusal(f"timm:test_resnet@{path}#momentum").startswith(
        "w.pth has no part 'momentum'; it has encoder_q, encoder_k"
    )


def test_a_shard_is_recognised(tmp_path: Path) -> None:
    """One file of several is refused with the advice to join them."""
    tensors = weights()
    half = dict(list(tensors.items())[: len(tensors) // 2])
    path = save(tmp_path, half, "model-00001-of-00002.bin")
    assert "It is shard 1 of 2: join them in one file, or pass --bob-allow-partial" in refusal(f"timm:test_vit@{path}")


@pytest.mark.parametrize(
    ("make", "partial"),
    [
        # width 64, hidden 192: 41,728 parameters in each of 6 blocks, and 55,872 in patches, positions, token and norm
        (lambda: {n: t for n, t in weights().items() if "blocks.5." not in n}, "partial: 86% of the parameters were"),
        (lambda: {n: t for n, t in weights().items() if n != "norm.bias"}, "partial: 99% of the parameters were"),
        (
            lambda: weights(init_values=1e-5),
            "partial: 100% of the parameters were in the file, and 12 tensors of the file have no place in the network",
        ),
    ],
    ids=["no last block", "no bias", "layer scale"],
)
def test_a_partial_load_is_another_backbone(tmp_path: Path, make: Callable[[], Tensors], partial: str) -> None:
    """It says how much was in the file, and its fingerprint differs from that of the same weights in a whole file."""
    backbone = loaded(f"timm:test_vit@{save(tmp_path, make())}", allow_partial=True)
    assert backbone.identity.details["partial"].startswith(partial)
    whole = loaded(f"timm:test_vit@{save(tmp_path, dict(backbone.module.state_dict()), 'whole.pth')}")
    assert whole.identity.fingerprint != backbone.identity.fingerprint
    assert "partial" not in whole.identity.details


def test_a_whole_file_is_the_same_backbone_where_partial_ones_are_allowed(tmp_path: Path) -> None:
    """The option alone marks nothing."""
    path = save(tmp_path, weights())
    strict, lenient = (loaded(f"timm:test_vit@{path}", allow_partial=allowed).identity for allowed in (False, True))
    assert strict == lenient


def test_the_part_is_in_the_identity(tmp_path: Path) -> None:
    """Two networks of one file are two backbones, also where identities are remembered."""
    path = save(tmp_path, moco())
    artifacts = Artifacts(tmp_path / "artifacts")
    texts = [f"timm:test_resnet@{path}#{part}" for part in ("encoder_q", "encoder_k", "encoder_q")]
    query, key, again = (identify(spec_of(text), artifacts).fingerprint for text in texts)
    assert query == again != key


def test_a_file_without_a_fitting_tensor_is_always_refused(tmp_path: Path) -> None:
    """Otherwise a random network would be scored under the name of a checkpoint."""
    path = save(tmp_path, {"x": torch.zeros(3)})
    assert "no tensor of VisionTransformer" in refusal(f"timm:test_vit@{path}", allow_partial=True)


def test_a_refused_file_leaves_the_network_as_it_was() -> None:
    """The network keeps its weights."""
    target = tiny()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    spec = BackboneSpec(name="w", text="w", scheme="timm", target="test_vit", path="/w.pth")
    with pytest.raises(UsageError):
        fill(target, {"": weights(depth=7)}, spec)
    assert same(dict(target.state_dict()), before)


@pytest.mark.parametrize("classes", [0, 5])
def test_other_names_are_filled_in_order(classes: int) -> None:
    """Tensors of other names are loaded in order, and the two tensors of a classifier at the end are ignored."""
    source, target = tiny("test_resnet", classes=classes, seed=1), tiny("test_resnet")
    renamed = {f"_{index}": tensor for index, tensor in enumerate(source.state_dict().values())}
    counters = [f"_{i}" for i, name in enumerate(source.state_dict()) if name.endswith("num_batches_tracked")]
    fill_in_order(target, {n: t for n, t in renamed.items() if n not in counters}, "w.pth")
    expected = {n: t for n, t in source.state_dict().items() if n in target.state_dict()}
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("change", ["shape", "one less", "one more"])
def test_an_order_that_does_not_fit_is_refused(change: str) -> None:
    """Tensors in order are refused where a shape or their number differs."""
    tensors = dict(tiny("test_resnet").state_dict())
    first = next(iter(tensors))
    if change == "shape":
        tensors[first] = torch.zeros(1)
    elif change == "one less":
        tensors.popitem()
        del tensors[next(reversed(tensors))]
    else:
        tensors["more"] = torch.zeros(1)
    with pytest.raises(UsageError, match="does not fit ResNet"):
        fill_in_order(tiny("test_resnet"), tensors, "w.pth")
