"""What fine-tuning costs beside the arithmetic, EfficientNet-Lite0 on a CPU: `python benchmarks/finetuning.py`.

    python benchmarks/finetuning.py steps|loader|timm [--images 420] [--repeats 3] [--threads 2]

- steps: where an epoch's wall time goes, by timers around the parts, validation left out, at 64 and 224 px, with the
  mini recipe on `photos` and the paper's on JPEG files (batch 128), in one process and, as a session has it, with a
  loader's process. What the training waits for the loader counts as the loader's own time divides. The bar: with a
  loader, 95% of the steps in network, optimiser, mixup and the making of images; the checkpoint comes after them.
- loader: images/s of one loader's process alone, of the training step alone, and of both together, at `--size`.
- timm: epochs beside a plain loop of timm's parts on the same files, as timm's train script has it: create_loader
  without prefetcher, the same augmentation, mixup, optimiser and batch. A second one has our memory layout, channels
  last. Each side runs in a process of its own, and they take turns.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import in_processes, in_turn, load, ratios, serve, spread, timed
from benchmarks.photo_files import CLASSES, photo_files
from benchmarks.plain_timm import plain
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.image_folders import images_in_class_folders, labelled_split
from bob_gauntlet.datasets.loading import load as load_dataset
from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.training import data_loader
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.engine.training.loss import LabelLoss
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.recipe import at_scale

NETWORK, BAR, BATCH = "efficientnet_lite0", 0.95, 32
PAPER = FineTune(batch=FineTune.micro_batch)
"""The paper's recipe with a batch that gives several steps in a short epoch."""
PARTS = ("network", "optimiser", "mixup", "image", "augment", "example", "collate", "loader", "checkpoint")
"""What is timed. `image` and `augment` lie in `example`; in one process all of these in `loader`."""
COLUMNS = (*PARTS[:5], "together", "seeding", "collate", "checkpoint", "rest")
SIDES = ("ours", "timm", "timm, channels last")


class Clock:
    """Seconds by part, in memory that a loader's process shares."""

    def __init__(self) -> None:
        self.memory = torch.zeros(len(PARTS), dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]
        self.seconds: np.ndarray = self.memory.numpy()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, whose time is counted."""
        place = PARTS.index(part)

        @wraps(call)
        def counted(*given: Any, **options: Any) -> Any:
            start = perf_counter()
            try:
                return call(*given, **options)
            finally:
                self.seconds[place] += perf_counter() - start

        return counted


@contextmanager
def clocked(trainer: Trainer, clock: Clock) -> Iterator[None]:
    """Timers around the parts of a training that has not begun."""
    examples = trainer.loader._loader.dataset
    data = examples.draw
    with ExitStack() as stack:
        for owner, name, part in (
            (LabelLoss, "loss", "network"),
            (torch.Tensor, "backward", "network"),
            (trainer.optimiser, "step", "optimiser"),
            (trainer.optimiser, "zero_grad", "optimiser"),
            (trainer.loss_function, "mixup", "mixup"),
            (data, "augment", "augment"),
            (type(examples), "__getitem__", "example"),
            (trainer.loader._loader, "collate_fn", "collate"),
            (Trainer, "save", "checkpoint"),
        ):
            if getattr(owner, name) is not None:
                stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        timed_image = clock.timed("image", data.split.image)
        stack.enter_context(patch.object(data, "split", replace(data.split, image=timed_image)))
        epoch = trainer.loader.epoch
        stack.enter_context(patch.object(trainer.loader, "epoch", lambda *at: waits(epoch(*at), clock)))
        yield


def waits(batches: Iterator[data_loader.LabelledBatch], clock: Clock) -> Iterator[data_loader.LabelledBatch]:
    """The batches; the time that each takes to come is counted."""
    step = clock.timed("loader", partial(next, batches, None))
    while (batch := step()) is not None:
        yield batch


def trainer(backbone: Backbone, images: Split, recipe: FineTune, workers: int) -> Trainer:
    """A training as the package begins it, of the recipe's first learning rate."""
    classes = int(images.targets.max()) + 1
    grid = recipe._grid(backbone, classes)
    network = Network(backbone, classes, grid.transform, drop_path=grid.drop_path)
    network.initialise(0)
    batches = data_loader.create_image_loader(
        images, grid.transform, grid.augmentation, batch_size=grid.batch, seed=0, workers=workers
    )
    return Trainer(network, grid.configs[0], batches, LabelLoss(grid.configs[0], classes, multi_label=False), 0, "cpu")


def shares(backbone: Backbone, images: Split, recipe: FineTune, workers: int, epochs: int) -> dict[str, float]:
    """Each part's share of the wall time of epochs with their checkpoints, after a first one; and images/s."""
    keep_pages()
    clock, training = Clock(), trainer(backbone, images, recipe, workers)
    with clocked(training, clock), tempfile.TemporaryDirectory() as folder:
        training.train_epoch(lambda count: None)
        clock.seconds[:] = 0
        start = perf_counter()
        for _ in range(epochs):
            training.train_epoch(lambda count: None)
            training.save(Path(folder) / "run.pt")
        wall = perf_counter() - start
    found = dict(zip(PARTS, (clock.seconds / wall).tolist(), strict=True))
    found["seeding"] = found["example"] - found["image"] - found["augment"]
    if workers:
        # the loader works while the network does: of its time, what the training waited for it
        waited = min(1.0, found["loader"] / (found["example"] + found["collate"]))
        found |= {part: found[part] * waited for part in ("image", "augment", "seeding", "collate")}
    found["together"] = sum(found[part] for part in ("network", "optimiser", "mixup", "image", "augment"))
    found["rest"] = 1 - sum(found[part] for part in ("together", "seeding", "collate", "checkpoint"))
    found["images/s"] = epochs * training.loader.batch_size * len(training.loader) / wall
    found["checkpoint s"] = found["checkpoint"] * wall / epochs
    return found


def steps(options: argparse.Namespace, folder: Path) -> bool:
    """The table of shares; whether the bar is met in every row."""
    backbone = loaded()
    paper, mini = photo_files(folder, options.images), load_dataset("photos")["train"]
    mini = mini.take(np.arange(options.images) % len(mini), "benchmark")
    print(
        f"shares of an epoch's wall time in %, {options.images} images\n{'':32}" + "".join(f"{c:>11}" for c in COLUMNS)
    )
    met = True
    for size in options.sizes:
        for name, recipe, images in (("mini", at_scale(FineTune(), "mini"), mini), ("paper", PAPER, paper)):
            for workers in (0, 1):
                found = shares(backbone, images, replace(recipe, input_size=size), workers, options.repeats)
                row = f"{size} px, {name}, {'one process' if not workers else 'with a loader'}"
                print(f"{row:32}" + "".join(f"{100 * found[c]:11.1f}" for c in COLUMNS), end="")
                share = found["together"] / (1 - found["checkpoint"])
                print(
                    f"   {100 * share:.1f}% of the steps, {found['images/s']:.0f} images/s, "
                    f"checkpoint {1e3 * found['checkpoint s']:.0f} ms",
                    flush=True,
                )
                met &= share >= BAR or not workers
    print(f"bar: with a loader, {100 * BAR:.0f}% of the steps: {'met' if met else 'MISSED'}")
    return met


def loader(options: argparse.Namespace, folder: Path) -> bool:
    """Images/s of a loader's process, of the step and of both."""
    keep_pages()
    backbone, images = loaded(), photo_files(folder, options.images)
    training = trainer(backbone, images, recipe_of(options), 1)
    alone = trainer(backbone, images, recipe_of(options), 1).loader
    ready = list(alone.epoch(0))
    training.network.train()
    calls: dict[str, Callable[[], object]] = {
        "loader": lambda: sum(len(batch) for batch, _ in alone.epoch(1)),
        "step": lambda: [training._step(*batch) for batch in ready],
        "both": lambda: training.train_epoch(lambda count: None),
    }
    found = in_turn({name: lambda c=call: timed(c)[0] for name, call in calls.items()}, options.repeats, warm_up=1)  # type: ignore[misc]
    count = alone.batch_size * len(alone)
    rates = {name: [count / seconds for seconds in taken] for name, taken in found.items()}
    print(f"JPEG files to {options.size} px, batch {BATCH}, images/s")
    print(f"decode and augment, one process {spread(rates['loader'], 0)}")
    print(f"step alone                      {spread(rates['step'], 0)}")
    print(f"both                            {spread(rates['both'], 0)}")
    print(f"both / step alone               {spread(ratios(rates['both'], rates['step']))}")
    needed = statistics.median(ratios(rates["step"], rates["loader"]))
    print(f"loader's processes that keep up with the step: {needed:.2f}")
    return True


def beside_timm(options: argparse.Namespace, folder: Path) -> bool:
    """Epochs of all sides in turn."""
    photo_files(folder, options.images)
    common = ("--folder", folder, "--size", options.size, "--threads", options.threads)
    found = in_processes(__file__, SIDES, ["timm", *map(str, common)], options.repeats)
    print(f"epochs of {options.images} images at {options.size} px, batch {BATCH}, the paper's augmentation, seconds")
    for name, taken in found.items():
        print(f"{name:20} {spread(taken)}, {spread(ratios(taken, found['ours']))} times ours")
    return True


def epochs_of(name: str, folder: Path, size: int) -> Callable[[], float]:
    """A side's epoch: a call that gives its seconds."""
    backbone, recipe = loaded(), replace(FineTune(), input_size=size, batch=BATCH)
    if name != "ours":
        layout = torch.channels_last if "channels last" in name else torch.contiguous_format
        return plain(backbone, folder, recipe, layout, CLASSES)
    keep_pages()
    training = trainer(backbone, labelled_split("train", images_in_class_folders(folder, "photos")), recipe, 1)
    return lambda: timed(lambda: training.train_epoch(lambda count: None))[0]


def recipe_of(options: argparse.Namespace) -> FineTune:
    """The paper's, with a batch that gives several steps an epoch."""
    return replace(FineTune(), input_size=options.size, batch=BATCH)


def loaded() -> Backbone:
    """The network that everything is measured on."""
    return load_backbone(resolve(NETWORK, UserConfig(Path())))


WHAT = {"steps": steps, "loader": loader, "timm": beside_timm}


def main() -> None:
    """Print what is asked for, else all; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*WHAT, []], help="default: all")
    parser.add_argument("--images", type=int, default=420)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224], help="of `steps`, in pixels")
    parser.add_argument("--size", type=int, default=224, help="of `loader` and `timm`, in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="1 on a busy machine: threads wait for each other")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        serve(epochs_of(options.serve, options.folder, options.size))
        return
    met = True
    for name in options.what or WHAT:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{name}: {NETWORK}, {options.threads} threads, {load()}")
            met &= WHAT[name](options, Path(folder))
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
