"""benchmarks/: what the scripts share, and the smallest path through those of training."""

import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import detection, finetuning, mini, paired, pipeline, plain_timm, reuse
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
    """A network of timm's own tests."""
    return load(resolve("random:test_resnet", UserConfig(Path())))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """32 JPEG files."""
    return write_photo_files(tmp_path_factory.mktemp("files") / "photos", 32)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_can_be_imported(name: str) -> None:
    """Those that nothing else runs follow the package too."""
    import_module(f"benchmarks.{name}")


def test_sides_take_turns_and_the_warm_up_is_left_out() -> None:
    """a, b, a, b, a, b; the first pair is not reported."""
    log: list[str] = []
    calls = {side: lambda s=side: log.append(s) or len(log) for side in "ab"}  # type: ignore[func-returns-value,misc]
    assert paired.run_in_turn(calls, repeats=2, warm_up=1) == {"a": [3, 5], "b": [4, 6]}
    assert log == list("ababab")


def test_each_side_has_a_process_of_its_own(tmp_path: Path) -> None:
    """Two processes that live as long as the measurement: each counts its own calls, and one warms up."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import itertools, os, sys\nsys.path.insert(0, {str(FOLDER.parent)!r})\n"
        "from benchmarks.paired import serve\n"
        "calls = itertools.count()\n"
        "serve(lambda: [os.getpid(), sys.argv[2:], next(calls)])\n"
    )
    found = paired.run_in_processes(str(script), ("a", "b"), ["--fast"], repeats=2)
    assert [(given, calls) for _, given, calls in found["a"]] == [(["a", "--fast"], 1), (["a", "--fast"], 2)]
    assert len({pid for turns in found.values() for pid, _, _ in turns}) == 2


def test_photo_files_are_jpegs_of_the_usual_size(images: Split) -> None:
    """In CLASSES folders, all decoded at 500 x 375, and no two alike."""
    assert len(images) == 32
    assert set(images.targets) == set(range(CLASSES))
    assert {images.image(i).size for i in range(len(images))} == {(500, 375)}
    assert len({images.image(i).tobytes() for i in range(len(images))}) == 32


def test_a_clock_counts_what_a_part_takes() -> None:
    """Two sleeps of 20 ms, and nothing elsewhere."""
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
    """Every part is counted, in the loader's process too, none twice; and the timers are gone after."""
    forward = Network.forward
    found = finetuning.measure_shares(backbone, images, SMALL, workers, epochs=2)
    parts = {part: found[part] for part in finetuning.COLUMNS if part != "together"}
    assert sum(parts.values()) == pytest.approx(1)
    assert all(share > 0 for share in parts.values()), parts
    # what no timer knows of: on a network this small, not most of it
    assert parts["rest"] < 0.5
    assert found["checkpoint s"] > 0
    assert Network.forward is forward


@pytest.mark.usefixtures("one_thread")
def test_an_epoch_of_timms_parts_is_the_same_work(backbone: Backbone, images: Split, tmp_path: Path) -> None:
    """As many images of the same size from its loader as from ours, and an epoch that ends."""
    folder = tmp_path / "photos"
    write_photo_files(folder, 32)
    ours = finetuning.create_trainer(backbone, images, SMALL, 0).loader
    theirs = plain_timm.build_loader(backbone, folder, SMALL)
    assert [tuple(batch.shape) for batch, _ in ours.epoch(0)] == [tuple(batch.shape) for batch, _ in theirs]
    assert plain_timm.prepare_epoch(backbone, folder, SMALL, torch.channels_last, CLASSES)() > 0


@pytest.mark.usefixtures("one_thread")
def test_what_is_shared_is_forwarded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the network of the setting before, calibration forwards the validation images alone."""
    names = ("finetune@photos", "calibration-finetune@photos")
    monkeypatch.setattr(reuse, "SETTINGS", {name: reuse.SETTINGS[name] for name in names})
    found = reuse.images_forwarded("random:test_resnet", 1)
    trained, calibrated = (found[name] for name in names)
    probe, validation = 2, len(load_dataset("photos")["val"])
    assert trained[0] == trained[1]
    assert calibrated == (validation + probe, trained[0] + validation)


def test_minis_table_adds_up() -> None:
    """A setting's scores share its seconds; a task is the sum of its settings, and what is left is the process's."""
    scores = [
        {"task": task, "setting": setting, "provenance": {"seconds": seconds}}
        for task, setting, seconds in (("Cls", "a@x", 1), ("Cls", "a@x", 1), ("Cls", "b@x", 2.5), ("Cal", "c@x", 4))
    ]
    lines = mini.format_table(mini.seconds_by_setting(scores), 10).splitlines()
    assert [line.split() for line in lines] == [
        ["Cal", "c@x", "4.0", "s"], ["Cls", "b@x", "2.5", "s"], ["Cls", "a@x", "1.0", "s"], [],
        ["Cal", "4.0", "s"], ["Cls", "3.5", "s"],
        ["imports,", "collecting,", "storing", "2.5", "s"], ["all", "10.0", "s"],
    ]  # fmt: skip


def test_mini_runs_a_session_of_its_own(tmp_path: Path) -> None:
    """In the store and cache that it is given; a session that fails says why."""
    extra = ["--bob-limit=8", "-k", "knn and digits"]
    seconds, scores = mini.run_session("random:test_resnet", tmp_path, extra)
    assert {score["setting"] for score in scores} == {"knn@digits"}
    assert 0 < sum(mini.seconds_by_setting(scores).values()) < seconds
    assert list((tmp_path / "store").iterdir())
    with pytest.raises(SystemExit, match="has to be a whole number"):
        mini.run_session("random:test_resnet", tmp_path, ["--bob-limit=few"])


@pytest.mark.usefixtures("one_thread")
def test_the_pipeline_has_a_rate_for_every_side(backbone: Backbone, images: Split) -> None:
    """On a CPU; and what strict float32 turned off is on again."""
    before = torch.backends.cudnn.allow_tf32
    found = pipeline.measure_rates(backbone, images, batch=16, repeats=2)
    assert list(found) == list(pipeline.SIDES)
    assert all(len(rates) == 2 and min(rates) > 0 for rates in found.values())
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.fixture(scope="module")
def detecting() -> detection.DetectionSetup:
    """A small network, on small scenes."""
    network = load(resolve("random:test_resnet", UserConfig(Path())))
    thinner = {"channels": 16, "linear": 16, "proposals": (50, 20)}
    return detection.DetectionSetup(network, load_dataset("photo-scenes")["train"], 64, 8, thinner)


@pytest.mark.usefixtures("one_thread")
def test_a_detectors_step_is_timed(detecting: detection.DetectionSetup) -> None:
    """Most of it is mmdet's model; the timers are gone after."""
    step, backward = detection.Trainer._step, torch.Tensor.backward
    found, rate = detection.measure_share(detecting, 2)
    assert 0.3 < found < 1
    assert rate > 0
    assert (step, backward) == (detection.Trainer._step, torch.Tensor.backward)


@pytest.mark.usefixtures("one_thread")
def test_a_detector_has_seconds_of_every_kind(detecting: detection.DetectionSetup) -> None:
    """Steps of each mode and of mmengine's Runner, memory, batches of the evaluation, a loader's scenes."""
    assert list(detection.time_modes(detecting, 1)) == ["frozen", "finetune"]
    seconds = detection.time_both_steps(detecting, 1)
    assert set(seconds) == {"ours", "mmdet"}
    assert min(min(taken) for taken in seconds.values()) > 0
    assert 0 <= detection.peak_memory(detecting, "frozen") < 2000
    assert min(detection.measure_evaluation_rates(detecting, 4, 1)["four"]) > 0
    assert min(detection.measure_loader_rates(detecting, detecting.detector_config().scaling, 4, 1)) > 0


@pytest.mark.usefixtures("one_thread")
def test_mmengines_step_is_of_the_same_loss(detecting: detection.DetectionSetup) -> None:
    """The same detector, images and objects: the gradients of one batch are equal on both roads."""
    ours, theirs = detecting.create_trainer(), detecting.create_trainer()
    batch = next(iter(ours.loader.epoch(0)))
    torch.manual_seed(0)
    ours._step(batch)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(detection.DetectionSetup, "create_trainer", lambda setup: theirs)
        call = detection.prepare_mmengine_step(detecting, batch)
    torch.manual_seed(0)
    call()
    # a tenth of the gradients
    moments = [[state["exp_avg"] for state in one.optimiser.state.values()] for one in (ours, theirs)]
    assert len(moments[0]) == len(moments[1]) > 50
    assert max(float(moment.abs().max()) for moment in moments[0]) > 1e-3
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*moments, strict=True))


def test_the_pipeline_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and no failure where there is none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["pipeline.py"])
    pipeline.main()
    assert capsys.readouterr().out == "this benchmark needs a GPU; --device cpu tries the script on 64 images\n"
