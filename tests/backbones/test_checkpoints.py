"""Checkpoints: read whole, never executed; a network is filled with all of them or refused by name."""

import argparse
import os
import pickle
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from bob_gauntlet.backbones.checkpoints import Tensors, check_file, fill, fill_in_order, first_line, read
from bob_gauntlet.errors import UsageError

WEIGHTS: Tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2, 3])}


def save(path: Path, content: Any, *, zipped: bool = True) -> Path:
    """A checkpoint, in torch's two formats or as safetensors by its name."""
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def same(found: Tensors, wanted: Tensors) -> bool:
    """Equal names, types, shapes and values."""
    return found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype and torch.equal(found[name], wanted[name]) for name in wanted
    )


def refusal(path: Path) -> str:
    """The one line with which a file is refused, and which names it."""
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def tiny(name: str = "test_vit", classes: int = 0, seed: int = 0) -> nn.Module:
    """One of timm's test networks, seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = timm.create_model(name, num_classes=classes)
    return module


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".ckpt"])
def test_every_format_reads_back(tmp_path: Path, ending: str) -> None:
    """What was saved is what is read, also from a folder with spaces and letters beyond ASCII."""
    folder = tmp_path / "wåghts v1"
    folder.mkdir()
    assert same(read(save(folder / f"w{ending}", WEIGHTS)), WEIGHTS)


def test_the_format_before_torch_1_6_reads_back(tmp_path: Path) -> None:
    """Published checkpoints of 2019 and before are plain pickles."""
    assert same(read(save(tmp_path / "w.pth", {"state_dict": WEIGHTS}, zipped=False)), WEIGHTS)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True, min_size=1),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    ending=st.sampled_from([".safetensors", ".pth"]),
)
def test_any_names_types_and_shapes_read_back(
    names: list[str], dtype: torch.dtype, shape: list[int], ending: str
) -> None:
    """Scalars and empty tensors too."""
    tensors = {name: torch.full(shape, index % 2, dtype=dtype) for index, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        assert same(read(save(Path(folder) / f"w{ending}", tensors)), tensors)


@pytest.mark.parametrize(
    "nest",
    [("state_dict",), ("model",), ("teacher",), ("model", "state_dict"), ("state_dict_ema",), ("model_state",)],
    ids="/".join,
)
def test_nests_are_opened(tmp_path: Path, nest: tuple[str, ...]) -> None:
    """The usual wrappings of weights, one in another."""
    content: Any = WEIGHTS
    for name in reversed(nest):
        content = {"epoch": 3, name: content}
    assert same(read(save(tmp_path / "w.pth", content)), WEIGHTS)


def test_a_tensor_beside_the_nest_does_not_hide_it(tmp_path: Path) -> None:
    """Some trainers keep the step or a temperature as a tensor next to the weights."""
    assert same(read(save(tmp_path / "w.pth", {"step": torch.tensor(7), "state_dict": WEIGHTS})), WEIGHTS)


def test_dino_gives_its_teacher(tmp_path: Path) -> None:
    """DINO saves both networks and publishes the teacher (recipes of the paper's authors use it)."""
    student = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    assert same(read(save(tmp_path / "w.pth", {"student": student, "teacher": WEIGHTS})), WEIGHTS)


def test_what_trainers_put_beside_weights_is_accepted(tmp_path: Path) -> None:
    """argparse.Namespace and NumPy numbers are data."""
    beside = {
        "args": argparse.Namespace(lr=0.1, name="x"),
        "acc": np.float32(71.2),
        "n": np.int64(5),
        "h": np.arange(3),
    }
    assert same(read(save(tmp_path / "w.pth", {"model": WEIGHTS, **beside})), WEIGHTS)


class Bomb:
    """Unpickling it for real would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_does_nothing(tmp_path: Path, kind: str) -> None:
    """Weights are loaded, never executed; the message says what the file asked for, and what to save instead."""
    sign = tmp_path / "executed"
    path = tmp_path / "w.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": Bomb(sign)}, protocol=2))
    else:
        save(path, {"model": WEIGHTS, "x": Bomb(sign)}, zipped=kind == "zip")
    message = refusal(path)
    assert not sign.exists()
    assert "checkpoints are never executed, save model.state_dict()" in message
    if kind != "pickle":  # outside torch's own formats it does not say which function was asked for
        assert f"{os.mkdir.__module__}.mkdir" in message


def test_the_bomb_of_these_tests_is_real(tmp_path: Path) -> None:
    """An ordinary unpickler would have run it: the test above can fail."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    """`torch.save(model)` needs the class, which is code."""
    assert "it asks for torch.nn.modules.linear.Linear" in refusal(save(tmp_path / "w.pth", nn.Linear(2, 2)))


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    """It is a program; the header alone tells."""
    path = tmp_path / "w.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    assert "TorchScript archive, which is code" in refusal(path)
    with pytest.raises(UsageError, match="TorchScript"):
        check_file(path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    """An empty file is the shortest of them."""
    whole = save(tmp_path / f"whole{ending}", WEIGHTS).read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(whole[: int(len(whole) * share)])
    refusal(path)


@pytest.mark.parametrize(
    "text", ["", "hello\n", "version https://git-lfs.github.com/spec/v1\n", "<!DOCTYPE html>", "\0" * 99]
)
@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_a_text_file_with_a_checkpoints_name_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """An error page or a git-lfs pointer is what downloads leave behind."""
    (tmp_path / name).write_text(text)
    refusal(tmp_path / name)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_damage_is_one_line_or_harmless(data: st.DataObject, kind: str) -> None:
    """Whatever bytes are flipped, the file is read or refused; nothing else escapes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("w.safetensors" if kind == "safetensors" else "w.pth")
        content = bytearray(save(path, WEIGHTS, zipped=kind == "zip").read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        said = ""
        try:
            assert read(path)
        except UsageError as error:
            said = str(error)
        assert len(said.splitlines()) <= 1


def test_a_checkpoint_that_holds_itself_ends(tmp_path: Path) -> None:
    """A dict inside itself is no endless loop."""
    content: dict[str, Any] = {}
    content["model"] = content
    assert "holds no tensors" in refusal(save(tmp_path / "w.pth", content))


@pytest.mark.parametrize("content", [{}, [1, 2], 3, {"epoch": 1}, torch.zeros(3)], ids=repr)
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    """There is nothing to fill a network with."""
    assert "holds no tensors" in refusal(save(tmp_path / "w.pth", content))


def test_a_name_that_is_no_checkpoints_is_refused(tmp_path: Path) -> None:
    """Before the file is opened."""
    assert "known extensions are .safetensors, .pth" in refusal(tmp_path / "w.onnx")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_an_absent_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    """In one line, as the rest."""
    refusal(tmp_path / name)
    (tmp_path / name).mkdir()
    refusal(tmp_path / name)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    """A zip without a pickle in it."""
    path = tmp_path / "w.pth"
    np.savez(tmp_path / "w.npz", x=np.zeros(3))
    (tmp_path / "w.npz").rename(path)
    assert "is a zip archive, but not a checkpoint" in refusal(path)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "encoder_q."])
def test_prefixes_are_found_by_what_fits(prefix: str) -> None:
    """DataParallel, detectors and MoCo prepend a name of their own; heads beside are left over."""
    source, target = tiny(classes=7, seed=1), tiny()
    tensors = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    left = fill(target, tensors, "w.pth", allow_partial=False)
    assert left == ["head.bias", "head.weight"]
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in target.state_dict().items())


def test_the_wrong_architecture_names_the_keys() -> None:
    """And what it would have filled."""
    target = tiny("test_vit")
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        fill(target, dict(tiny("test_resnet").state_dict()), "w.pth", allow_partial=False)
    message = str(caught.value)
    assert message.startswith("w.pth does not fit VisionTransformer: ")
    assert "cls_token, pos_embed, patch_embed.proj.weight and 75 more" in message
    assert "it fills 0%" in message
    assert same(dict(target.state_dict()), before)


def test_another_shape_is_named_with_both() -> None:
    """The file's for the network's."""
    given_tensors = dict(tiny("test_resnet").state_dict())
    given_tensors["layer1.0.conv1.weight"] = torch.zeros(5, 5, 3, 3)
    shape = tuple(tiny("test_resnet").state_dict()["layer1.0.conv1.weight"].shape)
    with pytest.raises(UsageError, match="1 of another shape") as caught:
        fill(tiny("test_resnet"), given_tensors, "w.pth", allow_partial=False)
    assert f"layer1.0.conv1.weight (5, 5, 3, 3) for {shape}" in str(caught.value)


def test_a_partial_checkpoint_has_to_be_allowed() -> None:
    """One missing norm is enough to refuse; allowed, all the rest is loaded."""
    source, target = tiny(seed=1), tiny()
    tensors = dict(source.state_dict())
    del tensors["blocks.0.attn.qkv.weight"]
    own = target.state_dict()["blocks.0.attn.qkv.weight"].clone()
    with pytest.raises(UsageError, match=r"1 missing \(blocks.0.attn.qkv.weight\).*--bob-allow-partial"):
        fill(target, tensors, "w.pth", allow_partial=False)
    fill(target, tensors, "w.pth", allow_partial=True)
    assert torch.equal(target.state_dict()["blocks.0.attn.qkv.weight"], own)
    assert torch.equal(target.state_dict()["cls_token"], source.state_dict()["cls_token"])


def test_not_one_fitting_tensor_is_refused_even_where_partial_is_allowed() -> None:
    """Else a random network would be scored under a checkpoint's name."""
    with pytest.raises(UsageError, match="no tensor of VisionTransformer"):
        fill(tiny(), {"x": torch.zeros(3)}, "w.pth", allow_partial=True)


def test_counters_of_batch_norm_may_be_absent() -> None:
    """`num_batches_tracked` came with torch 0.4.1 and changes no feature."""
    source, target = tiny("test_resnet", seed=1), tiny("test_resnet")
    tensors = {n: t for n, t in source.state_dict().items() if "num_batches_tracked" not in n}
    assert fill(target, tensors, "w.pth", allow_partial=False) == []


@pytest.mark.parametrize("classes", [0, 5])
def test_other_names_are_filled_in_order(classes: int) -> None:
    """A classifier's two tensors at the end are left."""
    source, target = tiny("test_resnet", classes=classes, seed=1), tiny("test_resnet")
    renamed = {f"_{index}": tensor for index, tensor in enumerate(source.state_dict().values())}
    counters = [f"_{i}" for i, name in enumerate(source.state_dict()) if name.endswith("num_batches_tracked")]
    fill_in_order(target, {n: t for n, t in renamed.items() if n not in counters}, "w.pth")
    wanted = {n: t for n, t in source.state_dict().items() if n in target.state_dict()}
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("change", ["shape", "one less", "one more"])
def test_an_order_that_does_not_fit_is_refused(change: str) -> None:
    """Every shape has to agree, and the number."""
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


def test_an_error_that_says_nothing_gives_its_kind() -> None:
    """`assert x` has no message."""
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(ValueError("a\nb")) == "a"
