"""The Python API: evaluate, scores, ranking and compare, and the store that they share with the suites."""

import json
import os
import random
import re
import subprocess
import sys
import threading
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import bob_gauntlet as bob
from bob_gauntlet import api, gauntlet
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.cli.main import main
from bob_gauntlet.config import UserConfig
from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.report.frames import COMPARISON_COLUMNS, SCORE_COLUMNS
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.scores.store import Store
from tests.helpers.calls import fail_if_called
from tests.helpers.sessions import suites
from tests.helpers.tiny_images import write_colours

ROOT = Path(__file__).parents[1]
SPEC = "random:test_resnet"
LIMIT = 24
SESSION = ("-k=knn and digits", f"--bob-limit={LIMIT}", "--bob-pool=none")
PAGE = (ROOT / "docs/api.md").read_text()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Pooled(nn.Module):
    """A small network with BatchNorm and dropout: (B, 3, H, W) to (B, 8)."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.scale = scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Average the maps."""
        return self.body(images).mean((2, 3)) * self.scale  # type: ignore[no-any-return]


class Failing(nn.Module):
    """A network whose forward pass raises what it was given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.error = error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Raise."""
        raise self.error


def pooled(seed: int = 0, **options: Any) -> Pooled:
    """The small network with seeded weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Pooled(**options)


def evaluate(backbone: Any, *settings: str, **options: Any) -> pd.DataFrame:
    """Evaluate on few examples, by default kNN on digits."""
    return bob.evaluate(backbone, settings or "knn@digits", **{"limit": LIMIT, **options})


def fingerprint(module: nn.Module, **options: Any) -> str:
    """The fingerprint that a module's scores carry."""
    [digest] = set(evaluate(module, name="m", **options)["backbone_fingerprint"])
    return str(digest)


def usage_error(*arguments: Any, **options: Any) -> str:
    """The one line with which `evaluate` refuses its arguments."""
    with pytest.raises(UsageError) as caught:
        bob.evaluate(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- import


def test_importing_the_package_is_light() -> None:
    """No torch, pandas or NumPy, and no other module of the package, is imported before a function is used."""
    code = "import sys, bob_gauntlet; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert not names & {"torch", "pandas", "numpy", "timm", "click"}
    assert {name for name in names if name.startswith("bob_gauntlet.")} == set()


def test_the_packages_scores_and_ranking_are_functions_too() -> None:
    """The packages stay packages, and calling them calls the functions of the API."""
    assert bob.scores.store.Store is Store  # type: ignore[attr-defined]
    assert list(bob.scores()) == list(api.scores())
    pd.testing.assert_frame_equal(bob.ranking(task="Ret"), api.ranking(task="Ret"))
    assert set(bob.__all__) <= set(dir(bob))
    with pytest.raises(AttributeError, match="has no attribute 'evaluated'"):
        bob.evaluated  # type: ignore[attr-defined]  # noqa: B018


# ---- one store with the suites


def test_the_suites_read_what_evaluate_measured(folder: Path) -> None:
    """A session of the suites finds the scores of `evaluate` in the nearest store."""
    frame = evaluate(SPEC)
    assert set(frame["origin"]) == {"measured"}
    session = suites(folder, *SESSION, backbones=(SPEC,))
    assert "measured 0 settings, 1 were already in the store, 0 skipped, 0 failed" in session.text
    assert [score.value for score in session.records] == list(frame["value"])


def test_evaluate_reads_what_the_suites_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate` in a folder below returns the session's scores, and loads nothing."""
    session = suites(folder, *SESSION, backbones=(SPEC,))
    assert "measured 1 setting, 0 were already" in session.text
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    monkeypatch.setattr(gauntlet, "load", fail_if_called)
    frame = evaluate(SPEC)
    assert set(frame["origin"]) == {"store"}
    assert list(frame["value"]) == [score.value for score in session.records]
    assert not (folder / "below/.bob").exists()


# ---- modules


def test_a_module_has_the_scores_of_the_same_weights_by_name() -> None:
    """A timm network given as a module is measured as the SPEC of the same network is."""
    by_name = evaluate(SPEC, "knn@digits", "linear-probe@digits")
    module = load(resolve(SPEC, UserConfig(Path()))).module
    given = evaluate(module, "knn@digits", "linear-probe@digits", name="mine")
    assert list(given["value"]) == list(by_name["value"])
    assert list(given["transform"]) == list(by_name["transform"])
    assert not set(given["backbone_fingerprint"]) & set(by_name["backbone_fingerprint"])


def test_the_module_and_the_callers_state_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training modes, gradients, flags, memory, weights, buffers and random states are the same before and after."""
    module = pooled()
    module.body[1].eval()
    module.body[0].weight.requires_grad_(False)
    module(torch.zeros(2, 3, 32, 32)).sum().backward()

    def state() -> dict[str, Any]:
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return {
            "training": {name: part.training for name, part in module.named_modules()},
            "memory": {name: (t.data_ptr(), t.stride(), str(t.device), t.dtype) for name, t in tensors.items()},
            "values": {name: t.tolist() for name, t in tensors.items()},
            "gradients": {name: t.grad if t.grad is None else t.grad.tolist() for name, t in tensors.items()},
            "flags": {name: t.requires_grad for name, t in tensors.items()},
            "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
            "modes": (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()),
            "threads": torch.get_num_threads(),
        }

    budget = {"input_size": 32, "batches": (2,), "repeats": 2, "ratio_batch": 2, "reference": "test_resnet"}
    monkeypatch.setattr(Efficiency, "mini", budget)
    before = state()
    evaluate(module, "finetune@digits", "efficiency@noise", name="mine", max_steps=1, size=32)
    assert state() == before


def test_where_the_caller_stands_does_not_change_a_score() -> None:
    """Autocast, no_grad, inference mode and another default dtype around the call make no difference."""
    expected = list(evaluate(pooled(), name="mine")["value"])
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu"), torch.inference_mode():
            frame = evaluate(pooled().float(), "knn@digits", "finetune@digits", name="mine", max_steps=1, rerun=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert not frame.attrs["failed"]
    network = pooled()
    with torch.autocast("cpu"), torch.no_grad():
        assert list(evaluate(network, name="mine", rerun=True)["value"]) == expected


def test_the_same_module_is_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as another object, and under another name, under which the scores are then stored too."""
    first = evaluate(pooled(), name="a")
    monkeypatch.setattr(gauntlet.datasets, "load", fail_if_called)
    for name in ("a", "b"):
        again = evaluate(pooled(), name=name)
        assert set(again["origin"]) == {"store"}
        assert set(again["backbone"]) == {name}
        assert list(again["value"]) == list(first["value"])
    assert list(bob.scores()["backbone"]) == ["a", "a", "b", "b"]
    assert len(list(Store(Path(".bob/store")))) == 4


def test_a_step_of_training_makes_another_backbone() -> None:
    """Weights, buffers, plain attributes and the structure are all part of the fingerprint."""
    changed = pooled()
    with torch.no_grad():
        changed.body[0].bias[0] += 1e-6
    buffers = pooled()
    buffers.body[1].running_mean[0] += 1e-6
    other_activation = pooled()
    other_activation.body[2] = nn.ReLU6()
    networks = [pooled(), changed, buffers, pooled(scale=2.0), other_activation]
    assert len({fingerprint(network) for network in networks}) == len(networks)
    assert fingerprint(pooled()) == fingerprint(pooled().eval()) == fingerprint(pooled().requires_grad_(False))


def test_wrappers_are_taken_off() -> None:
    """The network in DataParallel or compiled is the same backbone as without."""
    assert fingerprint(nn.DataParallel(pooled())) == fingerprint(pooled())
    compiled: Any = torch.compile(pooled())
    assert fingerprint(compiled) == fingerprint(pooled())


def test_a_module_that_keeps_a_computed_tensor_is_copied() -> None:
    """torch refuses to copy a tensor with a history, such as the features of the last step."""
    module: Any = pooled().eval()
    module.last = module(torch.zeros(2, 3, 32, 32))
    assert fingerprint(module) == fingerprint(pooled())
    assert module.last.grad_fn is not None


def test_a_network_in_half_precision_is_measured_in_float32() -> None:
    """Precision is part of a score's identity; the module itself stays in half precision."""
    module = pooled().bfloat16()
    assert set(evaluate(module, name="half")["precision"]) == {"float32"}
    assert module.body[0].weight.dtype == torch.bfloat16


def test_a_network_of_one_input_size_is_measured_at_that_size() -> None:
    """`size` is used by every protocol where a forward pass at another size fails."""
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU())
    frame = evaluate(fixed, name="fixed", size=32, mean=np.full(3, 0.5), std=(1, 1, 1), interpolation="bilinear")
    assert set(frame["transform"]) == {"32px crop 0.875 bilinear mean 0.5/0.5/0.5 std 1/1/1"}
    assert set(evaluate(pooled(), name="free", size=32)["transform"].str.split().str[0]) == {"96px"}


def test_a_class_without_a_file_is_identified_by_its_code() -> None:
    """A class of a notebook has no file: the bytecode of its methods tells two of them apart."""
    text = "class Net(nn.Module):\n    def forward(self, images):\n        return images.mean((2, 3)) * {factor}\n"
    digests = []
    for factor in (2, 2, 3):
        names: dict[str, Any] = {"nn": nn, "__name__": "notebook"}
        exec(text.format(factor=factor), names)
        digests.append(fingerprint(names["Net"]()))
    assert digests[0] == digests[1] != digests[2]


# ---- what goes wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet5O"}, "unknown backbone 'resnet5O'; did you mean"),
        ({"backbone": 3}, "evaluate takes a SPEC or an nn.Module, not int"),
        ({"backbone": Pooled()}, "a module has no name of its own; pass one, such as name='mymodel-epoch-3'"),
        ({"name": "two\nlines"}, "name='two\\nlines': has to be a text of one line"),
        ({"settings": "knn@digitz"}, "settings: 'knn@digitz' matches no setting; did you mean knn@digits"),
        ({"settings": []}, "settings is empty; name at least one"),
        ({"settings": "knn"}, "settings: 'knn' matches no setting; did you mean 'knn@*'"),
        (
            {"settings": "retrieval@cub-200"},
            "settings: 'retrieval@cub-200' matches nothing at mini scale; pass scale='p",
        ),
        ({"scale": "minni"}, "scale='minni': has to be mini or paper; did you mean mini?"),
        ({"fidelity": "good"}, "fidelity='good': has to be sound or paper"),
        ({"limit": 1}, "limit=1: has to be a whole number from 2"),
        ({"seeds": 0}, "seeds=0: has to be a whole number from 1"),
        ({"max_steps": 0.5}, "max_steps=0.5: has to be a whole number from 1"),
        ({"device": "gpu"}, "device='gpu': has to be auto, cpu, cuda or cuda:0"),
        ({"size": 0}, "bob.evaluate: backbone 'random:test_resnet': size has to be a whole number of pixels"),
        ({"mean": 0.5}, "bob.evaluate: backbone 'random:test_resnet': mean has to be three numbers"),
        ({"store": "file"}, "scores cannot be stored in file"),
    ],
)
def test_a_wrong_argument_is_one_line(folder: Path, options: dict[str, Any], message: str) -> None:
    """It is found before anything is measured, and says what to type."""
    (folder / "file").touch()
    assert usage_error(**{"backbone": SPEC, "settings": "knn@digits", "limit": LIMIT, **options}).startswith(message)
    assert not list(Store(folder / ".bob/store"))


def test_a_module_that_cannot_be_copied_is_one_line() -> None:
    """The message names what torch or Python says."""
    module: Any = pooled()
    module.lock = threading.Lock()
    message = usage_error(module, "knn@digits", name="locked")
    assert message.startswith("module 'locked' cannot be copied (TypeError: cannot pickle '_thread.lock' object)")


def test_images_that_two_roles_share_are_a_warning(folder: Path) -> None:
    """The warning counts and names them; the setting is measured."""
    (folder / "bob.toml").write_text('[datasets.mine]\nkind = "folder"\ntrain = "a"\ntest = "b"\n')
    train = write_colours(folder / "a", {"cat": 3, "dog": 3})
    write_colours(folder / "b", {"cat": 2, "dog": 2}, first=100)
    (folder / "b/cat/link.bmp").symlink_to(train[0])
    with pytest.warns(UserWarning, match="mine: 1 of 5 images of test are copies of images of train, or links to them"):
        frame = bob.evaluate(SPEC, "knn@mine", size=32, progress=False)
    assert set(frame["setting"]) == {"knn@mine"}


def test_missing_data_and_failures_do_not_stop_other_settings(folder: Path) -> None:
    """A warning gives each reason, and so do the DataFrame's attributes; the good setting is measured and stored."""
    (folder / "bob.toml").write_text(
        '[datasets.absent]\nkind = "folder"\ntrain = "a"\ntest = "b"\n'
        '[datasets.empty]\nkind = "folder"\ntrain = "c"\ntest = "c"\n'
    )
    (folder / "c").mkdir()
    with pytest.warns(UserWarning, match="knn@") as caught:
        frame = evaluate(SPEC, "knn@absent", "knn@empty", "knn@di*")
    assert set(frame["setting"]) == {"knn@digits"}
    [skipped], [failed] = frame.attrs["skipped"].items(), frame.attrs["failed"].items()
    assert skipped[0] == "knn@absent"
    assert "put it there, or correct" in skipped[1]
    assert failed[0] == "knn@empty"
    assert [str(w.message) for w in caught] == [
        f"{skipped[0]} is skipped: {skipped[1]}",
        f"{failed[0]} failed: {failed[1]}",
    ]
    assert {Path(warning.filename).name for warning in caught} == {"test_api.py"}
    assert set(bob.scores()["setting"]) == set(frame["setting"])


def test_where_every_setting_fails_an_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the first reason, and Python shows where the network raised."""
    monkeypatch.setattr("bob_gauntlet.backbones.build.probe", lambda backbone: (backbone.identity.traits, []))
    with pytest.raises(BobError, match="no setting could be measured; knn@digits: RuntimeError: no good") as caught:
        evaluate(Failing(RuntimeError("no good\nat all")), name="bad")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_network_that_gives_no_features_is_refused_before_anything_runs() -> None:
    """One line says what its forward raised; Python shows where."""
    with pytest.raises(UsageError, match=r"bad: its forward fails on .* images \(RuntimeError: no good\);") as caught:
        evaluate(Failing(RuntimeError("no good\nat all")), name="bad")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_logits_of_a_classifier_are_warned_of() -> None:
    """The scores are measured, and a warning says where to look."""
    classifier = nn.Sequential(pooled(), nn.Linear(8, 10))
    with pytest.warns(UserWarning, match="logits: its 10 features are the output of its last Linear layer, 1"):
        assert len(evaluate(classifier, name="logits"))


def test_scores_are_stored_before_an_interrupt() -> None:
    """Ctrl-C loses the setting that it interrupts, and no other."""
    evaluate(SPEC)

    class Interrupted(Pooled):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if Store(Path("own")).latest():
                raise KeyboardInterrupt
            return super().forward(images)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Interrupted(), "knn@digits", "efficiency@noise", name="mine", store="own")
    assert set(bob.scores("own")["setting"]) == {"knn@digits"}


# ---- the tables


def test_scores_has_the_newest_of_each(folder: Path) -> None:
    """One row for each measurement and name; the columns are those of the documents."""
    assert list(bob.scores()) == list(SCORE_COLUMNS)
    assert bob.scores().empty
    frame = evaluate(SPEC, seeds=2)
    evaluate(SPEC, seeds=2, rerun=True)
    pd.testing.assert_frame_equal(bob.scores()[["metric", "value"]], frame[["metric", "value"]])
    assert list(frame) == [*SCORE_COLUMNS, "origin"]
    row, score = frame.iloc[0], next(iter(Store(folder / ".bob/store")))
    assert (row["protocol"], row["dataset"], row["unit"], row["seeds"]) == ("knn", "digits", "%", "0 1")
    assert (row["n"], row["limit"]) == (LIMIT, LIMIT)
    assert row["stderr"] == score.provenance["stderr"]
    assert row["started"] == pd.Timestamp(score.provenance["started"])
    assert frame["max_steps"].isna().all()


@pytest.mark.parametrize("options", [{}, {"task": "Ret"}, {"members": True}, {"pool": "paper"}], ids=str)
def test_ranking_has_the_numbers_of_bob_rank(options: dict[str, Any]) -> None:
    """Row by row, with a backbone of the store among them."""
    pool = options.get("pool", "mini")
    highlighted = {"resnet-simclr"} if pool == "mini" else set()
    words = [f"--{k}={v}" if isinstance(v, str) else f"--{k}" for k, v in options.items()]
    words += [f"--backbone={name}" for name in highlighted]
    records = json.loads(CliRunner().invoke(main, ["rank", "--format=json", *words]).output)
    frame = bob.ranking(backbones=list(highlighted), **options)
    assert list(frame["backbone"]) == [record["backbone"] for record in records]
    assert set(frame.loc[frame["own"], "backbone"]) == highlighted
    for record, (_, row) in zip(records, frame.iterrows(), strict=True):
        low, high = record["interval"] or (None, None)
        z_low, z_high = record["settings_interval"] or (None, None)
        flat = {**{f"z_{k}": v for k, v in record["z"].items()}, "rank_low": low, "rank_high": high, "z_low": z_low}
        flat |= {"z_high": z_high, **{k: v for k, v in record.items() if k in frame}}
        assert set(flat) == set(frame)
        for name, value in flat.items():
            assert (value is None and pd.isna(row[name])) or row[name] == value, name
    assert frame.attrs["pool"] == pool
    assert frame.attrs["notes"]


def test_a_backbone_of_the_store_is_ranked(folder: Path) -> None:
    """And a name that is nowhere is one line with the nearest names."""
    pool = load_pool("mini", folder)
    member = pool.scores["resnet-simclr"].values()
    Store(folder / "mine").append(replace(s, backbone="mine", backbone_fingerprint="f") for s in member)
    frame = bob.ranking(backbones="mine", store="mine")
    rows = frame.set_index("backbone")
    assert list(frame.loc[frame["own"], "backbone"]) == ["mine"]
    assert rows.loc["mine", "z_All"] == rows.loc["resnet-simclr", "z_All"]
    assert frame["rank"].dropna().is_monotonic_increasing
    with pytest.raises(UsageError, match="did you mean resnet-simclr"):
        bob.ranking(backbones="resnet-simcl")
    with pytest.raises(UsageError, match="did you mean mini"):
        bob.ranking("minni")


def stored_score(setting: str, metric: str, value: float, backbone: str, **fields: Any) -> Score:
    """A score for the store."""
    return Score(setting=setting, metric=metric, task="Cls", value=value, backbone=backbone, **fields)


def test_compare_lists_every_measure_of_one_of_them(folder: Path) -> None:
    """Difference and better follow the metric's direction; what must not be compared has a reason instead."""
    common = {"protocol_hash": "p", "backbone_fingerprint": ""}
    Store(folder / ".bob/store").append(
        [
            stored_score("calibration-linear-probe@photos", "ece", 0.25, "a", **common),
            stored_score("calibration-linear-probe@photos", "ece", 0.5, "b", **common),
            stored_score("linear-probe@photos", "top1", 80.0, "a", **common),
            stored_score("linear-probe@photos", "top1", 70.0, "b", **{**common, "protocol_hash": "q"}),
            stored_score("knn@photos", "top1", 80.0, "a", **common),
            stored_score("knn@digits", "top1", 50.0, "a", **common),
            stored_score("knn@digits", "top1", 50.0, "b", **common),
        ]
    )
    frame = bob.compare("a", "b")
    assert list(frame) == list(COMPARISON_COLUMNS)
    rows = frame.astype(object).where(frame.notna(), None).set_index("setting")
    assert list(rows.index) == ["linear-probe@photos", "knn@photos", "knn@digits", "calibration-linear-probe@photos"]
    columns = ["value_a", "value_b", "difference", "better", "comparable", "why_not"]
    assert rows[columns].to_numpy().tolist() == [
        [80.0, 70.0, None, None, False, "protocol_hash differs"],
        [80.0, None, None, None, False, "b was not measured"],
        [50.0, 50.0, 0.0, None, True, ""],
        [0.25, 0.5, -0.25, "a", True, ""],
    ]


def test_compare_reads_a_pool() -> None:
    """Two members of a pool are comparable in everything that both have, except times of machines of unknown speed."""
    frame = bob.compare("resnet-simclr", "resnet-supervised", pool="mini")
    both = frame.dropna(subset=["value_a", "value_b"])
    both = both[~both["metric"].isin(["latency", "throughput"])]
    assert len(both) > 20
    assert both["comparable"].all()
    signs = both["metric"].map(lambda metric: METRICS[metric].sign)
    gap = (both["value_a"] - both["value_b"]) * signs
    assert (both["better"] == "resnet-simclr").equals(gap > 0)
    with pytest.raises(UsageError, match="did you mean resnet-simclr"):
        bob.compare("resnet-simcl", "resnet-supervised")


# ---- the documents


def test_the_example_of_the_documents_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The python block of docs/api.md, as printed, in an empty folder."""
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "docs/api.md", "exec"), {})
    output = capsys.readouterr().out
    assert re.search(r"epoch 1: \d+\.\d ± \d+\.\d %", output)
    assert "mymodel-epoch-1" in output
    assert set(bob.scores()["backbone"]) == {"mymodel-epoch-0", "mymodel-epoch-1"}


def test_the_documents_have_every_argument_and_column() -> None:
    """Each is in the first cell of a row of its section's table."""
    sections = {part.partition("`")[0]: part for part in PAGE.split("\n## `bob.")[1:]}

    def first_cells(section: str) -> set[str]:
        rows = re.findall(r"^\| (`.*?) \|", sections[section], re.MULTILINE)
        return {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert first_cells("evaluate") == set(signature(api.evaluate).parameters)
    assert first_cells("scores") == set(SCORE_COLUMNS)
    assert first_cells("compare") == set(COMPARISON_COLUMNS)
    columns = {name for name in bob.ranking() if not name.startswith("z_") or name in ("z_low", "z_high")}
    assert first_cells("ranking") == columns | {"z_All", "z_Cls"}
