"""What training and evaluating Cascade Mask R-CNN costs beside mmdet's model: `python benchmarks/detection.py`.

    python benchmarks/detection.py step|loader|modes|mmdet|evaluation [--size 192] [--repeats 3] [--device cuda]

Scenes of `photo-scenes` with the short side at `--size`, two a step, the paper's heads with `--regions` an image in the
box heads' losses. On a CPU that is less than the paper's 800 px and 512 regions, so that a step takes seconds.

- step: the share of a training's wall time in mmdet's model (forward, loss, backward) and the optimiser, with a
  loader's process. The bar: 95%.
- loader: scenes/s of one loader's process with the paper's augmentations, at the paper's sizes, and of the step. The
  photos are small and in memory; decoding COCO's files comes on top.
- modes: seconds a step, fine-tuning against frozen, in turn, on a ResNet-50 and a ViT-S/16 (the bar: fine-tuning takes
  1.3 times as long or more), and the peak memory of a step of each mode, each in a process of its own.
- mmdet: a step of ours against that of mmengine's Runner on the same detector and images: `train_step` with mmdet's
  data preprocessor and mmengine's OptimWrapper. The bar: 1.1 times as long at most.
- evaluation: images/s in batches of four and one at a time.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import in_processes, in_turn, load, ratios, serve, spread, timed
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

BATCH, SHARE, FASTER, SLOWER = 2, 0.95, 1.3, 1.1
RESNET, VIT = "random:resnet50", "random:vit_small_patch16_224"
MODES: tuple[Mode, ...] = ("frozen", "finetune", "scratch")


@dataclass(frozen=True)
class Workspace:
    """What is measured on: a backbone, its detectors' sizes, and the scenes."""

    backbone: Backbone
    split: Split
    size: int = 192
    regions: int = 64
    # fields of the recipe that are not the paper's
    thinner: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Where everything runs."""
        return self.backbone.device

    def detector_config(self, mode: Mode = "finetune") -> DetectorConfig:
        """The paper's, with images of `size` as in tests."""
        recipe = Detection(
            mode=mode, short_side=self.size, long_side=self.size * 5 // 3, augmentation="as tests",
            regions=self.regions, lrs=(1e-4,), batch=BATCH, micro_batch=BATCH, **self.thinner,
        )  # fmt: skip
        return recipe._detector_config(self.backbone, int(self.split.targets.shape[1]))

    def trainer(self, mode: Mode = "finetune", workers: int = 0) -> Trainer:
        """A training as the package begins it."""
        detector_config = self.detector_config(mode)
        stream = create_detection_loader(
            self.split, detector_config.scaling, masks=True, batch_size=BATCH, seed=0, workers=workers
        )
        detector = Detector(self.backbone, detector_config.design, 0)
        detector.train()
        return Trainer(detector, detector_config.configs[0], stream, DetectorLoss(), 0, self.device)

    def wait(self) -> None:
        """Until a GPU is done."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def timed(self, call: Callable[[], object]) -> float:
        """Seconds of a call and of what it left on the GPU."""
        self.wait()
        return timed(lambda: (call(), self.wait()))[0]


def workspace(options: argparse.Namespace, backbone: str = RESNET) -> Workspace:
    """The bench that the options ask for."""
    mmdet_ops.prepare()
    keep_pages()
    found = load_backbone(resolve(backbone, UserConfig(Path())), options.device)
    return Workspace(found, load_dataset("photo-scenes")["train"], options.size, options.regions)


@contextmanager
def counted(on: Workspace, trainer: Trainer, seconds: list[float]) -> Iterator[None]:
    """Timers around mmdet's model, the backward pass and the optimiser; a GPU is waited for at each."""

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def inner(*given: Any, **options: Any) -> Any:
            found: list[Any] = []
            seconds.append(on.timed(lambda: found.append(call(*given, **options))))
            return found[0]

        return inner

    detector: Any = trainer.network
    with ExitStack() as stack:
        for owner, name in (
            (detector.model, "loss"),
            (torch.Tensor, "backward"),
            (trainer.optimiser, "step"),
            (trainer.optimiser, "zero_grad"),
        ):
            stack.enter_context(patch.object(owner, name, counting(getattr(owner, name))))
        yield


def share(on: Workspace, steps: int) -> tuple[float, float]:
    """Of the wall time of so many steps after a first one, that of mmdet's model and the optimiser; and steps/s."""
    trainer = on.trainer(workers=1)
    batches = (batch for number in count() for batch in trainer.loader.epoch(number))
    trainer._step(next(batches))
    seconds: list[float] = []
    with counted(on, trainer, seconds):
        wall = on.timed(lambda: [trainer._step(batch) for batch in islice(batches, steps)])
    return sum(seconds) / wall, steps / wall


def step(options: argparse.Namespace) -> bool:
    """The share of the model."""
    found, rate = share(workspace(options), 4 * options.repeats)
    print(f"mmdet's model and optimiser: {100 * found:.1f}% of the wall time; {rate:.3f} steps/s of {BATCH} images")
    return verdict(found >= SHARE, f"{100 * SHARE:.0f}%")


def rates(on: Workspace, scaling: Scaling, images: int, repeats: int) -> list[float]:
    """Scenes/s of one loader's process, each time over `images` of them."""
    part = on.split.take(np.arange(images) % len(on.split), "benchmark")
    stream = create_detection_loader(part, scaling, masks=True, batch_size=BATCH, seed=0, workers=1)
    taken = [timed(lambda e=epoch: sum(map(len, stream.epoch(e)))) for epoch in range(repeats + 1)][1:]  # type: ignore[misc]
    return [made / seconds for seconds, made in taken]


def loader(options: argparse.Namespace) -> bool:
    """What one process prepares, and how many the step wants."""
    on = workspace(options)
    trainer = on.trainer()
    ready = list(islice(trainer.loader.epoch(0), 2))
    trainer._step(ready[0])
    steps = [BATCH / on.timed(lambda: trainer._step(ready[1])) for _ in range(options.repeats)]
    print(f"training step alone, scenes/s at {on.size} px    {spread(steps)}")
    for name, strides in (("multi-scale", (4, 8, 16, 32)), ("jitter", (16,))):
        found = rates(on, Detection()._scaling(strides), 16 * options.repeats, options.repeats)
        needed = statistics.median(steps) / statistics.median(found)
        print(f"one loader's process, {name:12} scenes/s {spread(found)}; processes that keep up: {needed:.2f}")
    return True


def paces(on: Workspace, repeats: int) -> dict[str, list[float]]:
    """Seconds of a step of the same batch, frozen and fine-tuning in turn."""
    trainers = {mode: on.trainer(mode) for mode in MODES[:2]}
    batch = next(iter(trainers["frozen"].loader.epoch(0)))
    calls = {mode: lambda t=trainer: on.timed(lambda: t._step(batch)) for mode, trainer in trainers.items()}  # type: ignore[misc]
    return in_turn(calls, repeats, warm_up=1)


def modes(options: argparse.Namespace) -> bool:
    """Pairs of both backbones, and memory."""
    met = True
    for name in (RESNET, VIT):
        on = workspace(options, name)
        found = paces(on, options.repeats)
        gain = ratios(found["finetune"], found["frozen"])
        print(
            f"{name}, {on.size} px, seconds a step of {BATCH}: frozen {spread(found['frozen'])}, fine-tuning ", end=""
        )
        print(f"{spread(found['finetune'])}, ratio {spread(gain)}")
        met &= statistics.median(gain) >= FASTER
        arguments = ["modes", "--backbone", name, *passed_on(options)]
        peaks = {mode: in_processes(__file__, [mode], arguments, 1)[mode][0] for mode in MODES}
        print("   peak memory of a step, MB: " + ", ".join(f"{mode} {peak:.0f}" for mode, peak in peaks.items()))
        met &= peaks["frozen"] < peaks["finetune"]
    return verdict(met, f"{FASTER}, and less memory frozen")


def peak(on: Workspace, mode: Mode) -> float:
    """MB that one step needs at most beyond what the process had before it."""
    trainer = on.trainer(mode)
    batch = next(iter(trainer.loader.epoch(0)))
    if on.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        trainer._step(batch)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # from here on the highest is counted anew; getrusage's is the parent's where that was higher
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    trainer._step(batch)
    return resident("VmHWM") - before


def resident(which: str) -> float:
    """MB of memory that this process holds now (VmRSS), or has held at most (VmHWM)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which)]
    return int(line.split()[1]) / 2**10


def runners_step(on: Workspace, batch: Sequence[DetectionSample]) -> Callable[[], object]:
    """One step as mmengine's Runner makes it, of the same detector: its images and samples are there before."""
    from mmdet.models import DetDataPreprocessor
    from mmengine.optim import AmpOptimWrapper, OptimWrapper

    trainer = on.trainer()
    detector: Any = trainer.network
    means, deviations = (255 * np.array(each) for each in (detector.transform.mean, detector.transform.std))
    preprocessor = DetDataPreprocessor(
        mean=means.tolist(),
        std=deviations.tolist(),
        pad_mask=True,
        pad_size_divisor=on.detector_config().scaling.divisor,
    )
    detector.model.data_preprocessor = preprocessor.to(on.device)
    wrapper = (OptimWrapper if trainer.half_dtype is None else AmpOptimWrapper)(
        optimizer=trainer.optimiser, **({} if trainer.half_dtype is None else {"dtype": trainer.half_dtype})
    )

    def call() -> object:
        samples = [scene.to_mmdet((scene.image.shape[1], scene.image.shape[2]), on.device) for scene in batch]
        data = {"inputs": [scene.image for scene in batch], "data_samples": samples}
        start = perf_counter()
        detector.model.train_step(data, wrapper)
        on.wait()
        return perf_counter() - start

    return call


def beside_mmdet(on: Workspace, repeats: int) -> dict[str, list[float]]:
    """Seconds of a step of the same batch, ours and theirs in turn."""
    trainer = on.trainer()
    batch = next(iter(trainer.loader.epoch(0)))
    theirs: Any = runners_step(on, batch)
    return in_turn({"ours": lambda: on.timed(lambda: trainer._step(batch)), "mmdet": theirs}, repeats, warm_up=1)


def mmdet(options: argparse.Namespace) -> bool:
    """Pairs of steps."""
    found = beside_mmdet(workspace(options), options.repeats)
    ratio = ratios(found["ours"], found["mmdet"])
    print(f"seconds a step: ours {spread(found['ours'])}, mmdet's {spread(found['mmdet'])}, ratio {spread(ratio)}")
    return verdict(statistics.median(ratio) <= SLOWER, f"{SLOWER}")


def evaluated(on: Workspace, images: int, repeats: int) -> dict[str, list[float]]:
    """Images/s of an untrained detector on `images` images, four at once and one at a time, in turn."""
    detector_config, part = on.detector_config(), on.split.take(np.arange(images) % len(on.split), "benchmark")
    detector = Detector(on.backbone, detector_config.design, 0).eval()

    def rate(batch: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            context = RunContext(Artifacts(Path(folder)), on.device, batch_size=8 * batch)
            return images / on.timed(lambda: detect_split(detector, part, detector_config, context))

    return in_turn({"four": lambda: rate(4), "one": lambda: rate(1)}, repeats, warm_up=1)


def evaluation(options: argparse.Namespace) -> bool:
    """Pairs of batches and single images."""
    found = evaluated(workspace(options), 8, options.repeats)
    gain = ratios(found["four"], found["one"])
    print(f"images/s: four at once {spread(found['four'])}, one {spread(found['one'])}, ratio {spread(gain)}")
    return True


def verdict(met: bool, bar: str) -> bool:
    """Whether a bar is met, said."""
    print(f"bar: {bar}: {'met' if met else 'MISSED'}")
    return met


def passed_on(options: argparse.Namespace) -> list[str]:
    """The options for a process of its own."""
    names = ("size", "regions", "threads", "device")
    return [text for name in names for text in (f"--{name}", str(getattr(options, name)))]


PARTS = {"step": step, "loader": loader, "modes": modes, "mmdet": mmdet, "evaluation": evaluation}


def main() -> None:
    """Print what is asked for, else all; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--size", type=int, default=192, help="short side of the images, in pixels")
    parser.add_argument("--regions", type=int, default=64, help="of an image in the boxes' losses; the paper's: 512")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--serve", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--backbone", default=RESNET, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        found = peak(workspace(options, options.backbone), options.serve)
        serve(lambda: found)
        return
    met = True
    for name in options.part or PARTS:
        print(f"\n{name}: {options.device}, {options.threads} threads, {load()}", flush=True)
        met &= PARTS[name](options)
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
