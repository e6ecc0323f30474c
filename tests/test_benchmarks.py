"""The benchmarks: what the scripts share, and the shortest run of those that train."""

import json
import os
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import detection, finetuning, first_run, paired, pipeline, plain_timm, process_tree, reuse
from benchmarks.photo_files import CLASSES, write_photo_files
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.loading import load as load_dataset
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.protocols.finetune import FineTune

FOLDER = Path(paired.__file__).parent
SMALL = replace(FineTune(), input_size=32, batch=16)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A small network of timm's own tests."""
    return load(resolve("random:test_resnet", UserConfig(Path())))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """32 JPEG files."""
    return write_photo_files(tmp_path_factory.mktemp("files") / "photos", 32)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_can_be_imported(name: str) -> None:
    """Every script can be imported, so that those without other tests follow changes of the package."""
    import_module(f"benchmarks.{name}")


def test_sides_take_turns_and_the_warm_up_is_left_out() -> None:
    """The calls run in turn (a, b, a, b, a, b), and the first pair is not returned."""
    log: list[str] = []
    calls = {side: lambda s=side: log.append(s) or len(log) for side in "ab"}  # type: ignore[func-returns-value,misc]
    assert paired.run_in_turn(calls, repeats=2, warm_up=1) == {"a": [3, 5], "b": [4, 6]}
    assert log == list("ababab")


def test_each_side_has_a_process_of_its_own(tmp_path: Path) -> None:
    """Each side has one process for all rounds: it counts its own calls, and the first call warms up."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import itertools, os, sys\nsys.path.insert(0, {str(FOLDER.parent)!r})\n"
        "from benchmarks.paired import serve\n"
        "calls = itertools.count()\n"
        "serve(lambda: [os.getpid(), sys.argv[2:], next(calls)])\n"
    )
    results = paired.run_in_processes(str(script), ("a", "b"), ["--fast"], repeats=2)
    assert [(arguments, calls) for _, arguments, calls in results["a"]] == [(["a", "--fast"], 1), (["a", "--fast"], 2)]
    assert len({pid for rounds in results.values() for pid, _, _ in rounds}) == 2


def test_photo_files_are_jpegs_of_the_usual_size(images: Split) -> None:
    """The files are in CLASSES folders, all of 500 x 375 pixels, and no two are equal."""
    assert len(images) == 32
    assert set(images.targets) == set(range(CLASSES))
    assert {images.image(i).size for i in range(len(images))} == {(500, 375)}
    assert len({images.image(i).tobytes() for i in range(len(images))}) == 32


def test_a_clock_counts_what_a_part_takes() -> None:
    """Two sleeps of 20 ms are added to one part and to no other."""
    clock = finetuning.Clock()
    sleep = clock.wrap("mixup", time.sleep)
    sleep(0.02)
    sleep(0.02)
    counted = dict(zip(finetuning.PARTS, clock.seconds, strict=True))
    assert 0.04 <= counted.pop("mixup") < 1
    assert not any(counted.values())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("workers", [0, 1])
def test_shares_of_an_epoch(backbone: Backbone, images: Split, workers: int) -> None:
    """Every part is counted once, in the loader process too, and the timers are removed afterwards."""
    forward = Network.forward
    shares = finetuning.measure_shares(backbone, images, SMALL, workers, epochs=2)
    parts = {part: shares[part] for part in finetuning.COLUMNS if part != "together"}
    assert sum(parts.values()) == pytest.approx(1)
    assert all(share > 0 for share in parts.values()), parts
    # what no timer knows of: on a network this small, not most of it
    assert parts["rest"] < 0.5
    assert shares["checkpoint s"] > 0
    assert Network.forward is forward


@pytest.mark.usefixtures("one_thread")
def test_an_epoch_of_timms_parts_is_the_same_work(backbone: Backbone, images: Split, tmp_path: Path) -> None:
    """timm's loader yields as many images of the same size as ours, and an epoch ends."""
    folder = tmp_path / "photos"
    write_photo_files(folder, 32)
    our_loader = finetuning.create_trainer(backbone, images, SMALL, 0).loader
    timm_loader = plain_timm.build_loader(backbone, folder, SMALL)
    assert [tuple(batch.shape) for batch, _ in our_loader.epoch(0)] == [tuple(batch.shape) for batch, _ in timm_loader]
    assert plain_timm.prepare_epoch(backbone, folder, SMALL, torch.channels_last, CLASSES)() > 0


@pytest.mark.usefixtures("one_thread")
def test_shared_work_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the network of the setting before it, calibration processes the validation images only."""
    names = ("finetune@photos", "calibration-finetune@photos")
    monkeypatch.setattr(reuse, "SETTINGS", {name: reuse.SETTINGS[name] for name in names})
    counts = reuse.images_forwarded("random:test_resnet", 1)
    trained, calibrated = (counts[name] for name in names)
    probe, validation = 2, len(load_dataset("photos")["val"])
    # the outputs of a classifier are looked at with two images, once in a process
    assert trained[0] - trained[1] in (0, probe)
    assert calibrated == (validation, trained[1] + validation)


def test_the_seconds_of_tasks_are_sums_over_their_settings() -> None:
    """Scores of one setting share its seconds, a task is the sum of its settings, and the slowest comes first."""
    scores = [
        {"task": task, "setting": setting, "provenance": {"seconds": seconds}}
        for task, setting, seconds in (("Cls", "a@x", 1), ("Cls", "a@x", 1), ("Cls", "b@x", 2.5), ("Cal", "c@x", 4))
    ]
    assert [line.split() for line in first_run.format_seconds(scores).splitlines()] == [
        ["Cal", "4.0", "s"], ["c@x", "4.0", "s"], ["Cls", "3.5", "s"], ["b@x", "2.5", "s"], ["a@x", "1.0", "s"],
    ]  # fmt: skip


def test_a_first_run_is_measured_and_a_failure_is_explained(tmp_path: Path) -> None:
    """The session has a store of its own, its cost is measured, and the time of its first score is before its end."""
    for name in ("bob_gauntlet", "baselines", "suites", "conftest.py", "pytest.ini", "pyproject.toml"):
        (tmp_path / name).symlink_to(FOLDER.parent / name)
    selection = ["--bob-limit=8", "-k", "knn and digits"]
    cost, first_score = first_run.run_session(tmp_path, "random:test_resnet", selection)
    assert {score["setting"] for score in json.loads((tmp_path / "scores.json").read_text())} == {"knn@digits"}
    assert 0 < first_score <= cost.wall_seconds
    assert cost.cpu_seconds > 1
    assert cost.peak_bytes > 100e6
    with pytest.raises(SystemExit, match="has to be a whole number"):
        first_run.run_session(tmp_path, "random:test_resnet", ["--bob-limit=few"])


def test_the_cost_of_a_command_contains_that_of_its_child_processes(tmp_path: Path) -> None:
    """CPU time, written bytes and memory of a grandchild count, and the exit code is the command's."""
    work = (
        "import os, time\n"
        "filled = b'x' * 200_000_000\n"
        "file = open('written', 'wb'); file.write(filled[:8_000_000]); file.flush(); os.fsync(file.fileno())\n"
        "while time.process_time() < 1: pass\n"
    )
    (tmp_path / "work.py").write_text(work)
    command = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, 'work.py']); sys.exit(3)"]
    seconds: list[float] = []
    cost = process_tree.run_and_measure(command, tmp_path, os.environ, seconds.append)
    assert cost.exit_code == 3
    assert cost.cpu_seconds >= 1
    assert cost.peak_bytes >= 200e6
    assert cost.bytes_written >= 8e6
    assert seconds
    assert seconds == sorted(seconds)


@pytest.mark.usefixtures("one_thread")
def test_the_pipeline_has_a_rate_for_every_side(backbone: Backbone, images: Split) -> None:
    """Every side has a rate on a CPU, and TF32 is on again after strict float32."""
    before = torch.backends.cudnn.allow_tf32
    rates_by_side = pipeline.measure_rates(backbone, images, batch=16, repeats=2)
    assert list(rates_by_side) == list(pipeline.SIDES)
    assert all(len(rates) == 2 and min(rates) > 0 for rates in rates_by_side.values())
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.fixture(scope="module")
def detection_setup() -> detection.DetectionSetup:
    """A small network on small images with annotations."""
    network = load(resolve("random:test_resnet", UserConfig(Path())))
    thinner = {"channels": 16, "linear": 16, "proposals": (50, 20)}
    return detection.DetectionSetup(network, load_dataset("photo-scenes")["train"], 64, 8, thinner)


@pytest.mark.usefixtures("one_thread")
def test_a_detectors_step_is_timed(detection_setup: detection.DetectionSetup) -> None:
    """Most of a step is in mmdet's model, and the timers are removed afterwards."""
    step, backward = detection.Trainer._step, torch.Tensor.backward
    share, rate = detection.measure_share(detection_setup, 2)
    assert 0.3 < share < 1
    assert rate > 0
    assert (step, backward) == (detection.Trainer._step, torch.Tensor.backward)


@pytest.mark.usefixtures("one_thread")
def test_every_part_of_detection_is_measured(detection_setup: detection.DetectionSetup) -> None:
    """Steps of each mode and of mmengine's Runner, memory, evaluation and loader have values."""
    assert list(detection.time_modes(detection_setup, 1)) == ["frozen", "finetune"]
    seconds = detection.time_both_steps(detection_setup, 1)
    assert set(seconds) == {"ours", "mmdet"}
    assert min(min(taken) for taken in seconds.values()) > 0
    assert 0 <= detection.peak_memory(detection_setup, "frozen") < 2000
    assert min(detection.measure_evaluation_rates(detection_setup, 4, 1)["four"]) > 0
    assert min(detection.measure_loader_rates(detection_setup, detection_setup.detector_config().scaling, 4, 1)) > 0


@pytest.mark.usefixtures("one_thread")
def test_mmengines_step_has_the_same_loss(detection_setup: detection.DetectionSetup) -> None:
    """With the same detector, images and objects, both steps give equal gradients of one batch."""
    our_trainer, their_trainer = detection_setup.create_trainer(), detection_setup.create_trainer()
    batch = next(iter(our_trainer.loader.epoch(0)))
    torch.manual_seed(0)
    our_trainer._step(batch)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(detection.DetectionSetup, "create_trainer", lambda _: their_trainer)
        call = detection.prepare_mmengine_step(detection_setup, batch)
    torch.manual_seed(0)
    call()
    # a tenth of the gradients
    moments = [[state["exp_avg"] for state in one.optimiser.state.values()] for one in (our_trainer, their_trainer)]
    assert len(moments[0]) == len(moments[1]) > 50
    assert max(float(moment.abs().max()) for moment in moments[0]) > 1e-3
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*moments, strict=True))


def test_the_pipeline_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a GPU there is one line and no failure."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["pipeline.py"])
    pipeline.main()
    assert capsys.readouterr().out == "this benchmark needs a GPU; --device cpu tries the script on 64 images\n"
