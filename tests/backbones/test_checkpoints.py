"""Tests of checkpoints: they are read completely, never executed, and fill a network completely or are refused."""

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
    """Write a checkpoint in one of torch's two formats, or as safetensors where its extension says so."""
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def same(one: Tensors, other: Tensors) -> bool:
    """Return whether two sets of tensors have equal names, types, shapes and values."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in other
    )


def refusal(path: Path) -> str:
    """Return the one-line error with which a file is refused, which has to name the file."""
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def tiny(name: str = "test_vit", classes: int = 0, seed: int = 0) -> nn.Module:
    """Return one of timm's test networks with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = timm.create_model(name, num_classes=classes)
    return module


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".ckpt"])
def test_every_format_reads_back(tmp_path: Path, ending: str) -> None:
    """The saved tensors are read back, also from a folder with spaces and letters beyond ASCII."""
    folder = tmp_path / "wåghts v1"
    folder.mkdir()
    assert same(read(save(folder / f"w{ending}", WEIGHTS)), WEIGHTS)


def test_the_format_before_torch_1_6_reads_back(tmp_path: Path) -> None:
    """A plain pickle, the format of published checkpoints up to 2019, is read back."""
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
    """Tensors of any name, type and shape are read back, scalars and empty tensors too."""
    tensors = {name: torch.full(shape, index % 2, dtype=dtype) for index, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        assert same(read(save(Path(folder) / f"w{ending}", tensors)), tensors)


@pytest.mark.parametrize(
    "keys",
    [("state_dict",), ("model",), ("teacher",), ("model", "state_dict"), ("state_dict_ema",), ("model_state",)],
    ids="/".join,
)
def test_wrapper_keys_are_opened(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """Weights are found under the usual keys, also under one key inside another."""
    content: Any = WEIGHTS
    for name in reversed(keys):
        content = {"epoch": 3, name: content}
    assert same(read(save(tmp_path / "w.pth", content)), WEIGHTS)


def test_a_tensor_beside_the_wrapper_key_does_not_hide_it(tmp_path: Path) -> None:
    """Weights are found although a trainer saved the step or a temperature as a tensor beside them."""
    assert same(read(save(tmp_path / "w.pth", {"step": torch.tensor(7), "state_dict": WEIGHTS})), WEIGHTS)


def test_the_teacher_of_dino_is_read(tmp_path: Path) -> None:
    """Of DINO's two networks the teacher is read, which is published and which the paper's authors use."""
    student = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    assert same(read(save(tmp_path / "w.pth", {"student": student, "teacher": WEIGHTS})), WEIGHTS)


def test_plain_data_beside_weights_is_accepted(tmp_path: Path) -> None:
    """An argparse.Namespace, NumPy numbers and arrays are data that trainers save beside weights."""
    beside = {
        "args": argparse.Namespace(lr=0.1, name="x"),
        "acc": np.float32(71.2),
        "n": np.int64(5),
        "h": np.arange(3),
    }
    assert same(read(save(tmp_path / "w.pth", {"model": WEIGHTS, **beside})), WEIGHTS)


class Bomb:
    """An object that creates a folder when an ordinary unpickler reads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_does_nothing(tmp_path: Path, kind: str) -> None:
    """Nothing is executed, and the error says which function the file asks for and what to save instead."""
    evidence = tmp_path / "executed"
    path = tmp_path / "w.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": Bomb(evidence)}, protocol=2))
    else:
        save(path, {"model": WEIGHTS, "x": Bomb(evidence)}, zipped=kind == "zip")
    message = refusal(path)
    assert not evidence.exists()
    assert "checkpoints are never executed, save model.state_dict()" in message
    if kind != "pickle":  # in other formats than torch's own the function is not known
        assert f"{os.mkdir.__module__}.mkdir" in message


def test_the_bomb_of_these_tests_is_real(tmp_path: Path) -> None:
    """An ordinary unpickler runs the bomb, so that the test above can fail."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    """A file of `torch.save(model)` needs the class, which is code, and is refused with its name."""
    assert "it asks for torch.nn.modules.linear.Linear" in refusal(save(tmp_path / "w.pth", nn.Linear(2, 2)))


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    """A TorchScript archive is a program and is refused, by its header already."""
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
    """A file that is cut off anywhere, even to nothing, is refused."""
    whole = save(tmp_path / f"whole{ending}", WEIGHTS).read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(whole[: int(len(whole) * share)])
    refusal(path)


@pytest.mark.parametrize(
    "text", ["", "hello\n", "version https://git-lfs.github.com/spec/v1\n", "<!DOCTYPE html>", "\0" * 99]
)
@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_a_text_file_with_a_checkpoints_name_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """A text file, as an error page or a git-lfs pointer of a failed download, is refused."""
    (tmp_path / name).write_text(text)
    refusal(tmp_path / name)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_damage_is_one_line_or_harmless(data: st.DataObject, kind: str) -> None:
    """Whichever bytes are changed, the file is read or refused in one line, and no other exception is raised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("w.safetensors" if kind == "safetensors" else "w.pth")
        content = bytearray(save(path, WEIGHTS, zipped=kind == "zip").read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        message = ""
        try:
            assert read(path)
        except UsageError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1


def test_a_checkpoint_that_contains_itself_is_refused(tmp_path: Path) -> None:
    """A dict that contains itself does not cause an endless loop."""
    content: dict[str, Any] = {}
    content["model"] = content
    assert "holds no tensors" in refusal(save(tmp_path / "w.pth", content))


@pytest.mark.parametrize("content", [{}, [1, 2], 3, {"epoch": 1}, torch.zeros(3)], ids=repr)
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    """A file without named tensors cannot fill a network and is refused."""
    assert "holds no tensors" in refusal(save(tmp_path / "w.pth", content))


def test_an_unknown_extension_is_refused(tmp_path: Path) -> None:
    """A file with another extension is refused before it is opened."""
    assert "known extensions are .safetensors, .pth" in refusal(tmp_path / "w.onnx")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_an_absent_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    """A path without a file, and a folder, are refused in one line."""
    refusal(tmp_path / name)
    (tmp_path / name).mkdir()
    refusal(tmp_path / name)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    """A zip archive without a pickle is refused."""
    path = tmp_path / "w.pth"
    np.savez(tmp_path / "w.npz", x=np.zeros(3))
    (tmp_path / "w.npz").rename(path)
    assert "is a zip archive, but not a checkpoint" in refusal(path)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "encoder_q."])
def test_prefixes_are_removed(prefix: str) -> None:
    """Prefixes of DataParallel, detectors and MoCo are removed, and the tensors of a head remain unused."""
    source, target = tiny(classes=7, seed=1), tiny()
    tensors = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    unused = fill(target, tensors, "w.pth", allow_partial=False)
    assert unused == ["head.bias", "head.weight"]
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in target.state_dict().items())


def test_the_wrong_architecture_is_refused_with_its_keys() -> None:
    """The error names the missing keys and the share that would be filled, and the network keeps its weights."""
    target = tiny("test_vit")
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        fill(target, dict(tiny("test_resnet").state_dict()), "w.pth", allow_partial=False)
    message = str(caught.value)
    assert message.startswith("w.pth does not fit VisionTransformer: ")
    assert "cls_token, pos_embed, patch_embed.proj.weight and 75 more" in message
    assert "it fills 0%" in message
    assert same(dict(target.state_dict()), before)


def test_another_shape_is_refused_with_both_shapes() -> None:
    """The error states the shape in the file and the shape in the network."""
    given_tensors = dict(tiny("test_resnet").state_dict())
    given_tensors["layer1.0.conv1.weight"] = torch.zeros(5, 5, 3, 3)
    shape = tuple(tiny("test_resnet").state_dict()["layer1.0.conv1.weight"].shape)
    with pytest.raises(UsageError, match="1 of another shape") as caught:
        fill(tiny("test_resnet"), given_tensors, "w.pth", allow_partial=False)
    assert f"layer1.0.conv1.weight (5, 5, 3, 3) for {shape}" in str(caught.value)


def test_a_partial_checkpoint_has_to_be_allowed() -> None:
    """One missing tensor is enough to refuse a file; where partial files are allowed, the rest is loaded."""
    source, target = tiny(seed=1), tiny()
    tensors = dict(source.state_dict())
    del tensors["blocks.0.attn.qkv.weight"]
    initial = target.state_dict()["blocks.0.attn.qkv.weight"].clone()
    with pytest.raises(UsageError, match=r"1 missing \(blocks.0.attn.qkv.weight\).*--bob-allow-partial"):
        fill(target, tensors, "w.pth", allow_partial=False)
    fill(target, tensors, "w.pth", allow_partial=True)
    assert torch.equal(target.state_dict()["blocks.0.attn.qkv.weight"], initial)
    assert torch.equal(target.state_dict()["cls_token"], source.state_dict()["cls_token"])


def test_a_file_without_a_fitting_tensor_is_always_refused() -> None:
    """Otherwise a random network would be scored under the name of a checkpoint."""
    with pytest.raises(UsageError, match="no tensor of VisionTransformer"):
        fill(tiny(), {"x": torch.zeros(3)}, "w.pth", allow_partial=True)


def test_counters_of_batch_norm_may_be_absent() -> None:
    """A file may lack `num_batches_tracked`, which came with torch 0.4.1 and changes no feature."""
    source, target = tiny("test_resnet", seed=1), tiny("test_resnet")
    tensors = {n: t for n, t in source.state_dict().items() if "num_batches_tracked" not in n}
    assert fill(target, tensors, "w.pth", allow_partial=False) == []


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


def test_the_first_line_of_an_error() -> None:
    """An error without a message, as of `assert x`, gives the name of its type, and others their first line."""
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(ValueError("a\nb")) == "a"
