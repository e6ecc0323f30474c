"""Measure the overhead of training and evaluating Cascade Mask R-CNN: `python benchmarks/detection.py`.

    python benchmarks/detection.py step|loader|modes|mmdet|evaluation [--size 192] [--repeats 3] [--device cuda]

Two images of `photo-scenes` a step, with a short side of `--size`, and the paper's heads with `--regions` region
proposals an image in the losses of the box heads. The defaults are smaller than the paper's 800 px and 512 regions, so
that a step takes seconds on a CPU.

- step: the share of a training's wall time in mmdet's model (forward, loss, backward) and the optimiser, with a loader
  process. The target: 95%.
- loader: images/s of one loader process with the paper's augmentations, at the paper's sizes, and of the step. The
  photos are small and in memory; the time to decode COCO's files is not included.
- modes: seconds of a step, fine-tuning against frozen, in turn, on a ResNet-50 and a ViT-S/16 (the target: fine-tuning
  takes at least 1.3 times as long), and the peak memory of a step of each mode, each in its own process.
- mmdet: our step against that of mmengine's Runner on the same detector and images: `train_step` with mmdet's data
  preprocessor and mmengine's OptimWrapper. The target: ours takes at most 1.1 times as long.
- evaluation: images/s in batches of four and one at a time.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import (
    describe_load,
    format_spread,
    ratios,
    run_in_processes,
    run_in_turn,
    serve,
    time_call,
)
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.loading import load as load_dataset
from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.detection import mmdet_ops
from bob_gauntlet.engine.detection.data_loading import DetectionSample, create_detection_loader
from bob_gauntlet.engine.detection.detector import Detector, Mode
from bob_gauntlet.engine.detection.resizing import Scaling
from bob_gauntlet.engine.detection.trained_detector import DetectorConfig, DetectorLoss, detect_split
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.protocols.detection import Detection
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.run_config import RunConfig

BATCH = 2
SHARE_TARGET, MODES_TARGET, MMDET_TARGET = 0.95, 1.3, 1.1
RESNET, VIT = "random:resnet50", "random:vit_small_patch16_224"
MODES: tuple[Mode, ...] = ("frozen", "finetune", "scratch")


@dataclass(frozen=True)
class DetectionSetup:
    """The backbone, the annotated images and the sizes of the detector that are measured."""

    backbone: Backbone
    split: Split
    size: int = 192
    regions: int = 64
    # fields of the recipe that differ from the paper's
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """The device on which everything runs."""
        return self.backbone.device

    def detector_config(self, mode: Mode = "finetune") -> DetectorConfig:
        """Return the paper's configuration with images of `size`, resized as in tests."""
        recipe = Detection(
            mode=mode, short_side=self.size, long_side=self.size * 5 // 3, augmentation="as tests",
            regions=self.regions, lrs=(1e-4,), batch=BATCH, micro_batch=BATCH, **self.overrides,
        )  # fmt: skip
        return recipe._detector_config(self.backbone, int(self.split.targets.shape[1]))

    def create_trainer(self, mode: Mode = "finetune", workers: int = 0) -> Trainer:
        """Create a trainer as the package does."""
        detector_config = self.detector_config(mode)
        loader = create_detection_loader(
            self.split, detector_config.scaling, masks=True, batch_size=BATCH, seed=0, workers=workers
        )
        detector = Detector(self.backbone, detector_config.design, 0)
        detector.train()
        return Trainer(detector, detector_config.configs[0], loader, DetectorLoss(), 0, self.device)

    def synchronise(self) -> None:
        """Wait until a GPU has finished its work."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object]) -> float:
        """Return the seconds of a call, including the work that it queued on a GPU."""
        self.synchronise()
        return time_call(lambda: (call(), self.synchronise()))[0]


def create_setup(options: argparse.Namespace, backbone: str = RESNET) -> DetectionSetup:
    """Create the setup that the options describe."""
    mmdet_ops.prepare()
    keep_pages()
    loaded = load_backbone(resolve(backbone, UserConfig(Path())), options.device)
    return DetectionSetup(loaded, load_dataset("photo-scenes")["train"], options.size, options.regions)


@contextmanager
def time_parts(setup: DetectionSetup, trainer: Trainer, seconds: list[float]) -> Iterator[None]:
    """Put timers around mmdet's model, the backward pass and the optimiser; each waits for a GPU."""

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            results: list[Any] = []
            seconds.append(setup.seconds(lambda: results.append(call(*args, **kwargs))))
            return results[0]

        return wrapper

    detector: Any = trainer.network
    with ExitStack() as stack:
        for owner, name in (
            (detector.model, "loss"),
            (torch.Tensor, "backward"),
            (trainer.optimiser, "step"),
            (trainer.optimiser, "zero_grad"),
        ):
            stack.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        yield


def measure_share(setup: DetectionSetup, steps: int) -> tuple[float, float]:
    """Return the share of mmdet's model and the optimiser in the wall time of `steps`, and steps/s.

    One step before warms up.
    """
    trainer = setup.create_trainer(workers=1)
    batches = (batch for number in count() for batch in trainer.loader.epoch(number))
    trainer._step(next(batches))
    seconds: list[float] = []
    with time_parts(setup, trainer, seconds):
        wall = setup.seconds(lambda: [trainer._step(batch) for batch in islice(batches, steps)])
    return sum(seconds) / wall, steps / wall


def compare_step(options: argparse.Namespace) -> bool:
    """Print the share of the model and the optimiser."""
    share, rate = measure_share(create_setup(options), 4 * options.repeats)
    print(f"mmdet's model and optimiser: {100 * share:.1f}% of the wall time; {rate:.3f} steps/s of {BATCH} images")
    return print_target(share >= SHARE_TARGET, f"{100 * SHARE_TARGET:.0f}%")


def measure_loader_rates(setup: DetectionSetup, scaling: Scaling, images: int, repeats: int) -> list[float]:
    """Measure the images/s of one loader process, `repeats` times over `images` images."""
    part = setup.split.take(np.arange(images) % len(setup.split), "benchmark")
    loader = create_detection_loader(part, scaling, masks=True, batch_size=BATCH, seed=0, workers=1)
    results = [time_call(lambda e=epoch: sum(map(len, loader.epoch(e)))) for epoch in range(repeats + 1)][1:]  # type: ignore[misc]
    return [loaded / seconds for seconds, loaded in results]


def compare_loader(options: argparse.Namespace) -> bool:
    """Print what one loader process prepares, and what the step needs."""
    setup = create_setup(options)
    trainer = setup.create_trainer()
    batches = list(islice(trainer.loader.epoch(0), 2))
    trainer._step(batches[0])
    step_rates = [BATCH / setup.seconds(lambda: trainer._step(batches[1])) for _ in range(options.repeats)]
    print(f"training step alone, images/s at {setup.size} px    {format_spread(step_rates)}")
    for name, strides in (("multi-scale", (4, 8, 16, 32)), ("jitter", (16,))):
        rates = measure_loader_rates(setup, Detection()._scaling(strides), 16 * options.repeats, options.repeats)
        needed = statistics.median(step_rates) / statistics.median(rates)
        print(
            f"one loader process, {name:12} images/s {format_spread(rates)}; processes needed to keep up: {needed:.2f}"
        )
    return True


def time_modes(setup: DetectionSetup, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of a step with the same batch, frozen and fine-tuning in turn."""
    trainers = {mode: setup.create_trainer(mode) for mode in MODES[:2]}
    batch = next(iter(trainers["frozen"].loader.epoch(0)))
    calls = {mode: partial(setup.seconds, partial(trainer._step, batch)) for mode, trainer in trainers.items()}
    return run_in_turn(calls, repeats, warm_up=1)


def compare_modes(options: argparse.Namespace) -> bool:
    """Print times of frozen and fine-tuned steps on both backbones, and the memory of all modes."""
    met = True
    for name in (RESNET, VIT):
        setup = create_setup(options, name)
        seconds = time_modes(setup, options.repeats)
        slower = ratios(seconds["finetune"], seconds["frozen"])
        frozen, finetuned = (format_spread(seconds[mode]) for mode in MODES[:2])
        print(f"{name}, {setup.size} px, seconds a step of {BATCH}: frozen {frozen}, fine-tuning {finetuned}, ", end="")
        print(f"ratio {format_spread(slower)}")
        met &= statistics.median(slower) >= MODES_TARGET
        arguments = ["modes", "--backbone", name, *common_arguments(options)]
        peaks = {mode: run_in_processes(__file__, [mode], arguments, 1)[mode][0] for mode in MODES}
        print("   peak memory of a step, MB: " + ", ".join(f"{mode} {peak:.0f}" for mode, peak in peaks.items()))
        met &= peaks["frozen"] < peaks["finetune"]
    return print_target(met, f"{MODES_TARGET}, and less memory when frozen")


def peak_memory(setup: DetectionSetup, mode: Mode) -> float:
    """Return the peak memory of one step in MB, beyond what the process had before it."""
    trainer = setup.create_trainer(mode)
    batch = next(iter(trainer.loader.epoch(0)))
    if setup.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        trainer._step(batch)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # reset the peak; getrusage cannot, and starts with the parent's peak if that is higher
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_memory("VmRSS")
    trainer._step(batch)
    return resident_memory("VmHWM") - before


def resident_memory(field_name: str) -> float:
    """Return the resident memory of this process in MB: now (VmRSS), or its peak (VmHWM)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field_name)]
    return int(line.split()[1]) / 2**10


def prepare_mmengine_step(setup: DetectionSetup, batch: Sequence[DetectionSample]) -> Callable[[], float]:
    """Return a call that makes one step as mmengine's Runner does, on the same detector, and returns its seconds.

    The images and samples are prepared before the time starts.
    """
    from mmdet.models import DetDataPreprocessor
    from mmengine.optim import AmpOptimWrapper, OptimWrapper

    trainer = setup.create_trainer()
    detector: Any = trainer.network
    means, deviations = (255 * np.array(each) for each in (detector.transform.mean, detector.transform.std))
    preprocessor = DetDataPreprocessor(
        mean=means.tolist(),
        std=deviations.tolist(),
        pad_mask=True,
        pad_size_divisor=setup.detector_config().scaling.divisor,
    )
    detector.model.data_preprocessor = preprocessor.to(setup.device)
    wrapper = (OptimWrapper if trainer.half_dtype is None else AmpOptimWrapper)(
        optimizer=trainer.optimiser, **({} if trainer.half_dtype is None else {"dtype": trainer.half_dtype})
    )

    def step() -> float:
        samples = [sample.to_mmdet((sample.image.shape[1], sample.image.shape[2]), setup.device) for sample in batch]
        data = {"inputs": [sample.image for sample in batch], "data_samples": samples}
        start = perf_counter()
        detector.model.train_step(data, wrapper)
        setup.synchronise()
        return perf_counter() - start

    return step


def time_both_steps(setup: DetectionSetup, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of a step with the same batch, ours and mmengine's in turn."""
    trainer = setup.create_trainer()
    batch = next(iter(trainer.loader.epoch(0)))
    calls = {
        "ours": lambda: setup.seconds(lambda: trainer._step(batch)),
        "mmdet": prepare_mmengine_step(setup, batch),
    }
    return run_in_turn(calls, repeats, warm_up=1)


def compare_mmdet(options: argparse.Namespace) -> bool:
    """Print the seconds of our step and of mmengine's."""
    seconds = time_both_steps(create_setup(options), options.repeats)
    ratio = ratios(seconds["ours"], seconds["mmdet"])
    print(f"seconds a step: ours {format_spread(seconds['ours'])}, mmdet's {format_spread(seconds['mmdet'])}, ", end="")
    print(f"ratio {format_spread(ratio)}")
    return print_target(statistics.median(ratio) <= MMDET_TARGET, f"{MMDET_TARGET}")


def measure_evaluation_rates(setup: DetectionSetup, images: int, repeats: int) -> dict[str, list[float]]:
    """Measure the images/s of an untrained detector on `images` images, four at once and one at a time, in turn."""
    detector_config = setup.detector_config()
    part = setup.split.take(np.arange(images) % len(setup.split), "benchmark")
    detector = Detector(setup.backbone, detector_config.design, 0).eval()

    def rate(batch: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            context = RunContext(Artifacts(Path(folder)), RunConfig(device=setup.device, batch_size=8 * batch))
            return images / setup.seconds(lambda: detect_split(detector, part, detector_config, context))

    return run_in_turn({"four": lambda: rate(4), "one": lambda: rate(1)}, repeats, warm_up=1)


def compare_evaluation(options: argparse.Namespace) -> bool:
    """Print the images/s of batches and of single images."""
    rates = measure_evaluation_rates(create_setup(options), 8, options.repeats)
    ratio = format_spread(ratios(rates["four"], rates["one"]))
    print(f"images/s: four at once {format_spread(rates['four'])}, one {format_spread(rates['one'])}, ratio {ratio}")
    return True


def print_target(met: bool, target: str) -> bool:
    """Print whether a target is met, and return it."""
    print(f"target: {target}: {'met' if met else 'MISSED'}")
    return met


def common_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments for another process with the same options."""
    names = ("size", "regions", "threads", "device")
    return [text for name in names for text in (f"--{name}", str(getattr(options, name)))]


PARTS = {
    "step": compare_step,
    "loader": compare_loader,
    "modes": compare_modes,
    "mmdet": compare_mmdet,
    "evaluation": compare_evaluation,
}


def main() -> None:
    """Print the chosen parts, by default all; exit with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="Parts to run (default: all).")
    parser.add_argument("--size", type=int, default=192, help="Short side of the images, in pixels.")
    parser.add_argument(
        "--regions",
        type=int,
        default=64,
        help="Region proposals of an image in the losses of the box heads (paper: 512).",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda.")
    parser.add_argument("--serve", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--backbone", default=RESNET, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        peak = peak_memory(create_setup(options, options.backbone), options.serve)
        serve(lambda: peak)
        return
    met = True
    for name in options.part or PARTS:
        print(f"\n{name}: {options.device}, {options.threads} threads, {describe_load()}", flush=True)
        met &= PARTS[name](options)
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
