"""The checks of a session before anything runs, and its lock on a device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.backbones.spec import BackboneIdentity, InputTransform, Traits
from bob_gauntlet.plugin.options import OPTIONS
from bob_gauntlet.plugin.outcome import ItemOutcome
from bob_gauntlet.plugin.session import check, open_session
from bob_gauntlet.plugin.session_options import SessionOptions, check_options
from bob_gauntlet.runtime.device_lock import device_lock
from bob_gauntlet.runtime.run_config import RunConfig

TRAITS = Traits(family="conv", pretrained=True, features=8, params=1.0)


def options(folder: Path, **run: Any) -> SessionOptions:
    """Return the options of `--backbone=resnet50 --bob-pool=none`."""
    return SessionOptions(
        backbones=("resnet50",), run=RunConfig(**run), device="cpu", home=folder, store=folder / "store",
        cache=folder / "artifacts", pool="none",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resolved", "said"), [("resnet50.a1_in1k", ["resnet50 is resnet50.a1_in1k"]), ("resnet50", []), ("", [])]
)
def test_an_untagged_name_is_told_what_it_resolved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolved: str, said: list[str]
) -> None:
    """One line says what a backbone's name resolved to, unless the name resolved to itself."""
    identity = BackboneIdentity(
        fingerprint="f",
        transform=InputTransform(size=8),
        traits=TRAITS,
        details={"resolved": resolved} if resolved else {},
    )
    session = open_session(options(tmp_path), tmp_path, {}, hands_out=False)
    monkeypatch.setattr(session.workspace, "identity", lambda spec: identity)
    lines: list[str] = []
    check(session, lines.append)
    assert lines[:-1] == said


@pytest.mark.parametrize(
    ("scale", "any_size", "sizes"), [("mini", True, "96 or 64"), ("mini", False, "224"), ("paper", True, "224")]
)
def test_the_input_and_every_warning_are_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: Any, any_size: bool, sizes: str
) -> None:
    """One line says size, transform, origin and how to change it; a network of one size is said to be ranked apart."""
    identity = BackboneIdentity(
        fingerprint="f",
        transform=InputTransform(size=224, mean=(0.5,) * 3, crop_pct=0.9),
        traits=replace(TRAITS, any_size=any_size),
        details={"transform_source": "timm's config of resnet50.a1_in1k", "warnings": ["it is odd"]},
    )
    session = open_session(options(tmp_path, scale=scale), tmp_path, {}, hands_out=False)
    monkeypatch.setattr(session.workspace, "identity", lambda spec: identity)
    lines: list[str] = []
    check(session, lines.append)
    apart = "! resnet50: it is measured at 224 px where other inputs have 96 or 64 px, and is ranked apart there"
    assert lines[:2] == [
        f"resnet50: input {sizes} px, crop 0.9, bicubic, mean 0.5 0.5 0.5, std 0.229 0.224 0.225 (timm's config of "
        "resnet50.a1_in1k); to change it, declare size, mean, std, interpolation or crop_pct in bob.toml",
        "! resnet50: it is odd",
    ]
    assert [line.startswith(apart) for line in lines[2:]] == [True] * (scale == "mini" and not any_size)


def test_what_a_checkpoint_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each names the network used of a file, what may differ from the expected one, and the share loaded."""
    details = {"notes": ["teacher of w.pth is used"], "warnings": ["pos_embed resampled"], "partial": "partial: 51%"}
    identity = BackboneIdentity(fingerprint="f", transform=InputTransform(size=8), traits=TRAITS, details=details)
    session = open_session(options(tmp_path), tmp_path, {}, hands_out=False)
    monkeypatch.setattr(session.workspace, "identity", lambda spec: identity)
    lines: list[str] = []
    check(session, lines.append)
    assert [line for line in lines if ": input " not in line] == [
        "resnet50: teacher of w.pth is used", "! resnet50: pos_embed resampled", "! resnet50: partial: 51%"
    ]  # fmt: skip


def test_seeds_are_counted_from_zero(tmp_path: Path) -> None:
    """`--bob-seeds 3` measures with the seeds 0, 1 and 2."""
    given = {option.shown: [] if option.repeatable else option.default for option in OPTIONS}
    assert check_options(given | {"--bob-seeds": "3"}, tmp_path).run.seeds == (0, 1, 2)


def test_workers_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has as many threads as cores divided by workers, and at least one."""
    monkeypatch.setattr("bob_gauntlet.runtime.limits.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for workers, threads in ((1, 8), (3, 2), (16, 1)):
        session = open_session(options(tmp_path), tmp_path, {"bob_workers": workers}, hands_out=False)
        assert session.workspace.config.threads == threads


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_users_number_of_threads_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A number of threads in the environment is used instead of the share of the cores, in workers and without."""
    monkeypatch.setattr("bob_gauntlet.runtime.limits.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv(name, "3")
    for workers in (1, 2, 16):
        session = open_session(options(tmp_path), tmp_path, {"bob_workers": workers}, hands_out=False)
        assert session.workspace.config.threads == 3


@pytest.mark.parametrize(("cores", "loaders", "readers"), [(1, 0, 1), (2, 1, 2), (8, 1, 2)])
def test_loader_processes_and_reading_threads_count_among_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, loaders: int, readers: int
) -> None:
    """A process with one core reads its images itself."""
    monkeypatch.setattr("bob_gauntlet.runtime.limits.usable_cores", lambda: cores)
    config = open_session(options(tmp_path), tmp_path, {}, hands_out=False).workspace.config
    assert (config.loader_processes, config.reader_threads) == (loaders, readers)


def test_a_folder_that_cannot_be_locked_makes_nobody_wait(tmp_path: Path) -> None:
    """A device lock whose folder cannot be written raises no error, and the setting runs."""
    (tmp_path / "file").write_text("")
    with device_lock(tmp_path / "file", "cpu", exclusive=True):
        pass


def test_outcomes_have_the_order_of_reports_whatever_ran_first(tmp_path: Path) -> None:
    """At the end outcomes are sorted by backbone and setting; a setting of the user's own comes after the table's."""
    session = open_session(options(tmp_path), tmp_path, {}, hands_out=False)
    settings = ["of-mine@x", "efficiency@noise", "knn@photos", "linear-probe@photos"]
    for backbone in ("other", "resnet50"):
        for setting in settings:
            session.record(f"t[{backbone}@{setting}]", ItemOutcome(setting, backbone, "skipped"))
    session.close()
    order = [(outcome.backbone, outcome.setting) for outcome in session.outcomes.values()]
    assert order == [(backbone, setting) for backbone in ("resnet50", "other") for setting in settings[::-1]]
