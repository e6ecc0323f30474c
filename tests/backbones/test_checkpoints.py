"""Tests of reading checkpoints: every tensor is read, and nothing is executed."""

import argparse
import os
import pickle
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from bob_gauntlet.backbones.checkpoints import Groups, Tensors, check_file, first_line, read
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


def holds(groups: Groups, label: str, tensors: Tensors) -> bool:
    """Return whether a checkpoint has these tensors under these keys."""
    return label in groups and same(groups[label], tensors)


def refusal(path: Path) -> str:
    """Return the one-line error with which a file is refused, which has to name the file."""
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".ckpt"])
def test_every_format_reads_back(tmp_path: Path, ending: str) -> None:
    """The saved tensors are read back, also from a folder with spaces and letters beyond ASCII."""
    folder = tmp_path / "wåghts v1"
    folder.mkdir()
    assert holds(read(save(folder / f"w{ending}", WEIGHTS)), "", WEIGHTS)


def test_the_format_before_torch_1_6_reads_back(tmp_path: Path) -> None:
    """A plain pickle, the format of published checkpoints up to 2019, is read back."""
    assert holds(read(save(tmp_path / "w.pth", {"state_dict": WEIGHTS}, zipped=False)), "state_dict", WEIGHTS)


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
        assert holds(read(save(Path(folder) / f"w{ending}", tensors)), "", tensors)


@pytest.mark.parametrize("keys", [("state_dict",), ("anything",), ("model", "state_dict"), ("a.b", "c")], ids="/".join)
def test_weights_under_any_keys_are_read(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """Weights are found under any keys, also under one key inside another, and the keys are told."""
    content: Any = WEIGHTS
    for name in reversed(keys):
        content = {"epoch": 3, name: content}
    assert holds(read(save(tmp_path / "w.pth", content)), ".".join(keys), WEIGHTS)


def test_every_state_dict_of_a_file_is_read(tmp_path: Path) -> None:
    """A tensor beside the weights, two networks and the state of an optimiser are all told apart."""
    student = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    step = {"step": torch.tensor(7)}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    groups = read(save(tmp_path / "w.pth", {**step, "student": student, "teacher": WEIGHTS, "optimizer": optimizer}))
    assert list(groups) == ["", "student", "teacher", "optimizer.state.0"]
    assert holds(groups, "", step)
    assert holds(groups, "student", student)
    assert holds(groups, "teacher", WEIGHTS)


def test_one_state_dict_under_two_keys_is_read_once(tmp_path: Path) -> None:
    """A trainer that saves one and the same dict as model and as EMA has saved one network."""
    assert list(read(save(tmp_path / "w.pth", {"model": WEIGHTS, "model_ema": WEIGHTS}))) == ["model"]


def test_plain_data_beside_weights_is_accepted(tmp_path: Path) -> None:
    """An argparse.Namespace, NumPy numbers and arrays are data that trainers save beside weights."""
    beside = {
        "args": argparse.Namespace(lr=0.1, name="x"),
        "acc": np.float32(71.2),
        "n": np.int64(5),
        "h": np.arange(3),
    }
    assert holds(read(save(tmp_path / "w.pth", {"model": WEIGHTS, **beside})), "model", WEIGHTS)


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


def test_the_first_line_of_an_error() -> None:
    """An error without a message, as of `assert x`, gives the name of its type, and others their first line."""
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(ValueError("a\nb")) == "a"
