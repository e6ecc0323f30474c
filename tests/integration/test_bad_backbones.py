"""Backbones that cannot be loaded: the session ends with one line and exit code 4 before anything runs."""

import pickle
import warnings
from pathlib import Path

import pytest
import timm
import torch

import bob_gauntlet.backbones.build
import bob_gauntlet.datasets.mini.classification
import bob_gauntlet.datasets.mini.retrieval  # noqa: F401
from tests.helpers.plugin_suite import SUITE


@pytest.fixture
def workspace(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the quick suite, one good checkpoint, and files that cannot be loaded."""
    pytester.makepyfile(
        test_quick=SUITE,
        ours="""
        def broken():
            raise RuntimeError("out of luck\\nand lines")
        def none():
            return 42
        import torch
        from torch import nn
        class Net(nn.Conv2d):
            def __init__(self, output):
                super().__init__(3, 4, 16, stride=16)
                self.output = output
            def forward(self, images):
                return self.output(super().forward(images))
        def channels_last():
            return Net(lambda maps: maps.permute(0, 2, 3, 1))
        def patches():
            return Net(lambda maps: maps.flatten(2).transpose(1, 2))
        def random():
            return Net(lambda maps: nn.functional.dropout(maps.mean((2, 3))))
        def lazy():
            return nn.Sequential(nn.LazyConv2d(4, 8))
        def meta():
            return nn.Conv2d(3, 4, 8, device="meta")
        def sparse():
            module = nn.Conv2d(3, 4, 8)
            module.register_buffer("mask", torch.eye(3).to_sparse())
            return module
        def raises():
            return Net(lambda maps: maps @ torch.zeros(7))
        """,
    )
    pytester.makeini("[pytest]\naddopts = -k 'not scenes'\n")
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    folder = pytester.path
    torch.save(state, folder / "good.pth")
    torch.save(dict(list(state.items())[:10]), folder / "partial.pth")
    (folder / "truncated.pth").write_bytes((folder / "good.pth").read_bytes()[:1000])
    (folder / "text.pth").write_text("not a checkpoint")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "evil.pth").write_bytes(pickle.dumps({"model": Evil(folder / "proof")}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(folder / "script.pth"))
    return pytester


class Evil:
    """An object that writes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = str(proof)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (self.proof, "w")


def errors(workspace: pytest.Pytester, *options: str) -> tuple[int, list[str]]:
    """Run the suite, and return its exit code and its error lines."""
    result = workspace.runpytest_inprocess("--bob-pool=none", *options)
    lines = [line for line in result.stderr.str().splitlines() if line.strip()]
    return int(result.ret), lines


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet5O", "unknown backbone 'resnet5O'; did you mean resnet50"),
        ("timm:test_resnet@missing.pth", "there is no file"),
        ("timm:test_resnet@partial.pth", "missing ("),
        ("timm:test_vit@good.pth", "does not fit VisionTransformer: 78 missing (cls_token"),
        ("timm:test_resnet@truncated.pth", "copy it again"),
        ("timm:test_resnet@text.pth", "text.pth is"),
        ("timm:test_resnet@empty.safetensors", "empty.safetensors is damaged"),
        ("timm:test_resnet@evil.pth", "checkpoints are never executed"),
        ("timm:test_resnet@script.pth", "TorchScript archive, which is code; save model.state_dict() instead"),
        ("timm:test_resnet,depth=9@good.pth", "depth"),
        ("ours:broken", "--backbone ours:broken raised RuntimeError: out of luck"),
        ("ours:none", "--backbone ours:none returned int, not an nn.Module"),
        ("ours:channels_last", "ours:channels_last: forward gave (2, 6, 6, 4) for square images"),
        ("ours:patches", "ours:patches: forward gave (2, 36, 4), 6 x 6 patches without a class token"),
        ("ours:random", "ours:random: two forward passes of the same images give different features"),
        ("ours:lazy", "ours:lazy: its tensor 0.weight has no shape yet"),
        ("ours:meta", "ours:meta: its tensor weight has no values, since it is on the meta device"),
        ("ours:sparse", "ours:sparse: its tensor mask is sparse"),
        ("ours:raises", "ours:raises: its forward fails on (2, 3, 224, 224) images"),
        ("ours:missing", "type package.module:callable"),
        ("nowhere.to:be_found", "type package.module:callable"),
        ("what is this", "unknown backbone 'what is this'"),
    ],
)
def test_one_line_and_exit_code_4(workspace: pytest.Pytester, spec: str, message: str) -> None:
    """The session ends with one line that says what to correct, and no test and no code of a checkpoint has run."""
    code, lines = errors(workspace, f"--bob-backbone={spec}")
    assert code == pytest.ExitCode.USAGE_ERROR
    [line] = lines
    assert line.startswith("ERROR: ")
    assert message in line
    assert not (workspace.path / "log.txt").exists(), "nothing has run"
    assert not (workspace.path / "proof").exists(), "nothing was executed"


def test_a_partial_checkpoint_is_taken_on_request(workspace: pytest.Pytester) -> None:
    """With --bob-allow-partial a checkpoint that lacks weights is loaded; start and scores say how much was loaded."""
    result = workspace.runpytest_inprocess(
        "--bob-pool=none", "-k", "knn", "--bob-backbone=timm:test_resnet@partial.pth", "--bob-allow-partial"
    )
    result.assert_outcomes(passed=2)
    mark = "partial: 1% of the parameters were in the file"
    lines = result.stdout.str().splitlines()
    assert f"! timm:test_resnet@partial.pth: {mark}" in lines
    assert sum(line.endswith(f"(measured, {mark})") for line in lines) == 2


def test_what_is_left_over_is_said_before_anything_runs(workspace: pytest.Pytester) -> None:
    """The start of a session tells the tensors of a checkpoint that were not used, also when it is read again."""
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    torch.save({"model": state, "queue": torch.zeros(2)}, workspace.path / "more.pth")
    note = "model of more.pth is used; not used of more.pth: fc (2 tensors), queue (1 tensor)"
    for _ in range(2):
        options = ("--bob-pool=none", "-k", "knn and digits")
        result = workspace.runpytest_inprocess(*options, "--bob-backbone=timm:test_resnet@more.pth#model")
        assert f"timm:test_resnet@more.pth#model: {note}" in result.stdout.str().splitlines()


def test_a_hub_that_cannot_be_reached_is_said_with_the_ways_that_work(
    workspace: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network the session ends with a message that names backbones which need no download."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    code, lines = errors(workspace, "--bob-backbone=resnet18.a1_in1k")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "cannot be reached" in lines[-1]
    assert "timm:NAME@PATH, random:NAME, or efficientnet_lite0" in lines[-1]
