"""Measure the overhead of fine-tuning, EfficientNet-Lite0 on a CPU: `python benchmarks/finetuning.py`.

    python benchmarks/finetuning.py steps|loader|timm [--images 420] [--repeats 3] [--threads 2]

- steps: the share of each part in the wall time of an epoch without validation, by timers around the parts, at 64 and
  224 px, with the mini recipe on `photos` and the paper's on JPEG files (batch 128), in one process and, as in a
  session, with a loader process. The time that the training waits for the loader is divided among the loader's parts in
  proportion to their own times. The target: with a loader process, 95% of the steps (without the checkpoint, which
  follows them) are spent in network, optimiser, mixup and the preparation of images.
- loader: images/s of one loader process alone, of the training step alone, and of both together, at `--size`.
- timm: an epoch against a plain loop of timm's parts on the same files, as in timm's train script: create_loader
  without prefetcher, the same augmentation, mixup, optimiser and batch. A third side uses our memory layout, channels
  last. Each side runs in its own process, and they take turns.
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

from benchmarks.paired import (
    describe_load,
    format_spread,
    ratios,
    run_in_processes,
    run_in_turn,
    serve,
    time_call,
)
from benchmarks.photo_files import CLASSES, write_photo_files
from benchmarks.plain_timm import prepare_epoch as prepare_timm_epoch
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

NETWORK, TARGET, BATCH = "efficientnet_lite0", 0.95, 32
PAPER = FineTune(batch=FineTune.micro_batch)
"""The paper's recipe with a smaller batch, so that a short epoch has several steps."""
PARTS = ("network", "optimiser", "mixup", "image", "augment", "example", "collate", "loader", "checkpoint")
"""The timed parts. `example` includes `image` and `augment`; in one process, `loader` includes all three."""
COLUMNS = (*PARTS[:5], "together", "seeding", "collate", "checkpoint", "rest")
SIDES = ("ours", "timm", "timm, channels last")


class Clock:
    """Seconds by part, in memory that is shared with the loader process."""

    def __init__(self) -> None:
        self.memory = torch.zeros(len(PARTS), dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]
        self.seconds: np.ndarray = self.memory.numpy()

    def wrap(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a call so that its time is added to a part."""
        index = PARTS.index(part)

        @wraps(call)
        def timed_call(*args: Any, **kwargs: Any) -> Any:
            start = perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[index] += perf_counter() - start

        return timed_call


@contextmanager
def time_parts(trainer: Trainer, clock: Clock) -> Iterator[None]:
    """Put timers around the parts of a training that has not started yet."""
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
                stack.enter_context(patch.object(owner, name, clock.wrap(part, getattr(owner, name))))
        timed_image = clock.wrap("image", data.split.image)
        stack.enter_context(patch.object(data, "split", replace(data.split, image=timed_image)))
        epoch = trainer.loader.epoch
        stack.enter_context(patch.object(trainer.loader, "epoch", lambda *args: time_waiting(epoch(*args), clock)))
        yield


def time_waiting(batches: Iterator[data_loader.LabelledBatch], clock: Clock) -> Iterator[data_loader.LabelledBatch]:
    """Yield the batches and count the time that each one takes to arrive."""
    next_batch = clock.wrap("loader", partial(next, batches, None))
    while (batch := next_batch()) is not None:
        yield batch


def create_trainer(backbone: Backbone, images: Split, recipe: FineTune, workers: int) -> Trainer:
    """Create a trainer as the package does, with the recipe's first learning rate."""
    classes = int(images.targets.max()) + 1
    grid = recipe._classifier_config(backbone, classes)
    network = Network(backbone, classes, grid.transform, drop_path=grid.drop_path)
    network.initialise(0)
    batches = data_loader.create_image_loader(
        images, grid.transform, grid.augmentation, batch_size=grid.batch, seed=0, workers=workers
    )
    return Trainer(network, grid.configs[0], batches, LabelLoss(grid.configs[0], classes, multi_label=False), 0, "cpu")


def measure_shares(backbone: Backbone, images: Split, recipe: FineTune, workers: int, epochs: int) -> dict[str, float]:
    """Measure each part's share of the wall time of epochs with checkpoints, after one warm-up epoch; and images/s."""
    keep_pages()
    clock, trainer = Clock(), create_trainer(backbone, images, recipe, workers)
    with time_parts(trainer, clock), tempfile.TemporaryDirectory() as folder:
        trainer.train_epoch(lambda count: None)
        clock.seconds[:] = 0
        start = perf_counter()
        for _ in range(epochs):
            trainer.train_epoch(lambda count: None)
            trainer.save(Path(folder) / "run.pt")
        wall = perf_counter() - start
    shares = dict(zip(PARTS, (clock.seconds / wall).tolist(), strict=True))
    shares["seeding"] = shares["example"] - shares["image"] - shares["augment"]
    if workers:
        # the loader works while the network does: only the share that the training waited for it counts
        waited = min(1.0, shares["loader"] / (shares["example"] + shares["collate"]))
        shares |= {part: shares[part] * waited for part in ("image", "augment", "seeding", "collate")}
    shares["together"] = sum(shares[part] for part in ("network", "optimiser", "mixup", "image", "augment"))
    shares["rest"] = 1 - sum(shares[part] for part in ("together", "seeding", "collate", "checkpoint"))
    shares["images/s"] = epochs * trainer.loader.batch_size * len(trainer.loader) / wall
    shares["checkpoint s"] = shares["checkpoint"] * wall / epochs
    return shares


def compare_steps(options: argparse.Namespace, folder: Path) -> bool:
    """Print the table of shares; return whether the target is met in every row."""
    backbone = load_network()
    paper, mini = write_photo_files(folder, options.images), load_dataset("photos")["train"]
    mini = mini.take(np.arange(options.images) % len(mini), "benchmark")
    print(
        f"shares of an epoch's wall time in %, {options.images} images\n{'':32}" + "".join(f"{c:>11}" for c in COLUMNS)
    )
    met = True
    for size in options.sizes:
        for name, recipe, images in (("mini", at_scale(FineTune(), "mini"), mini), ("paper", PAPER, paper)):
            for workers in (0, 1):
                sized = replace(recipe, input_size=size)
                shares = measure_shares(backbone, images, sized, workers, options.repeats)
                row = f"{size} px, {name}, {'one process' if not workers else 'with a loader'}"
                print(f"{row:32}" + "".join(f"{100 * shares[c]:11.1f}" for c in COLUMNS), end="")
                share = shares["together"] / (1 - shares["checkpoint"])
                print(
                    f"   {100 * share:.1f}% of the steps, {shares['images/s']:.0f} images/s, "
                    f"checkpoint {1e3 * shares['checkpoint s']:.0f} ms",
                    flush=True,
                )
                met &= share >= TARGET or not workers
    print(f"target: with a loader, {100 * TARGET:.0f}% of the steps: {'met' if met else 'MISSED'}")
    return met


def compare_loader(options: argparse.Namespace, folder: Path) -> bool:
    """Print the images/s of a loader process, of the step, and of both together."""
    keep_pages()
    backbone, images = load_network(), write_photo_files(folder, options.images)
    trainer = create_trainer(backbone, images, small_batch_recipe(options), 1)
    loader = create_trainer(backbone, images, small_batch_recipe(options), 1).loader
    batches = list(loader.epoch(0))
    trainer.network.train()
    calls: dict[str, Callable[[], object]] = {
        "loader": lambda: sum(len(batch) for batch, _ in loader.epoch(1)),
        "step": lambda: [trainer._step(batch) for batch in batches],
        "both": lambda: trainer.train_epoch(lambda count: None),
    }
    results = run_in_turn({name: partial(time_call, call) for name, call in calls.items()}, options.repeats, warm_up=1)
    count = loader.batch_size * len(loader)
    rates = {name: [count / seconds for seconds, _ in rounds] for name, rounds in results.items()}
    print(f"JPEG files to {options.size} px, batch {BATCH}, images/s")
    print(f"decode and augment, one process {format_spread(rates['loader'], 0)}")
    print(f"step alone                      {format_spread(rates['step'], 0)}")
    print(f"both                            {format_spread(rates['both'], 0)}")
    print(f"both / step alone               {format_spread(ratios(rates['both'], rates['step']))}")
    needed = statistics.median(ratios(rates["step"], rates["loader"]))
    print(f"loader processes needed to keep up with the step: {needed:.2f}")
    return True


def compare_timm(options: argparse.Namespace, folder: Path) -> bool:
    """Print the seconds of epochs of all sides, measured in turn."""
    write_photo_files(folder, options.images)
    common = ("--folder", folder, "--size", options.size, "--threads", options.threads)
    seconds_by_side = run_in_processes(__file__, SIDES, ["timm", *map(str, common)], options.repeats)
    print(f"epochs of {options.images} images at {options.size} px, batch {BATCH}, the paper's augmentation, seconds")
    for name, seconds in seconds_by_side.items():
        relative = ratios(seconds, seconds_by_side["ours"])
        print(f"{name:20} {format_spread(seconds)}, {format_spread(relative)} times ours")
    return True


def prepare_epoch(name: str, folder: Path, size: int) -> Callable[[], float]:
    """Return a call that trains one epoch of a side and returns its seconds."""
    backbone, recipe = load_network(), replace(FineTune(), input_size=size, batch=BATCH)
    if name != "ours":
        layout = torch.channels_last if "channels last" in name else torch.contiguous_format
        return prepare_timm_epoch(backbone, folder, recipe, layout, CLASSES)
    keep_pages()
    images = labelled_split("train", images_in_class_folders(folder, "photos"))
    trainer = create_trainer(backbone, images, recipe, 1)
    return lambda: time_call(lambda: trainer.train_epoch(lambda count: None))[0]


def small_batch_recipe(options: argparse.Namespace) -> FineTune:
    """Return the paper's recipe with a batch that gives several steps an epoch."""
    return replace(FineTune(), input_size=options.size, batch=BATCH)


def load_network() -> Backbone:
    """Load the network on which everything is measured."""
    return load_backbone(resolve(NETWORK, UserConfig(Path())))


COMPARISONS = {"steps": compare_steps, "loader": compare_loader, "timm": compare_timm}


def main() -> None:
    """Print the chosen comparisons, by default all; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*COMPARISONS, []], help="Comparisons to run (default: all).")
    parser.add_argument("--images", type=int, default=420)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224], help="Image sizes of `steps`, in pixels.")
    parser.add_argument("--size", type=int, default=224, help="Image size of `loader` and `timm`, in pixels.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="Number of threads; use 1 if the machine is busy.")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        serve(prepare_epoch(options.serve, options.folder, options.size))
        return
    met = True
    for name in options.what or COMPARISONS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{name}: {NETWORK}, {options.threads} threads, {describe_load()}")
            met &= COMPARISONS[name](options, Path(folder))
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
