"""PGD of 20 steps on 32 photos through EfficientNet-Lite0 at 96 px: our `pgd` beside torchattacks.PGD.

    pip install --no-deps --target /tmp/torchattacks torchattacks
    PYTHONPATH=/tmp/torchattacks python benchmarks/pgd.py [--repeats 7] [--threads 2]

Both attack the same pixels, labels and linear head from the same start, epsilon 1/255, steps of a fifth of it, and
judge the last iterate. torchattacks gets the network as its users wrap it: a module from pixels to logits.
A second torchattacks gets our memory layout, channels last: twenty steps along signs magnify the rounding in which
layouts differ, so that only equal layouts give equal images. Each side runs in a process of its own, since the
allocator's thresholds hold for a whole process; all stay alive and take turns, so that a busy machine is busy for all.
The bar: ours at least 1.5 times as fast as the first, with the images of the second.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import in_processes, load, ratios, serve, spread
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.loading import load as load_dataset
from bob_gauntlet.engine.attacks import frozen_module, pgd, pixel_batches
from bob_gauntlet.engine.frozen.linear import pixels_to_logits
from bob_gauntlet.engine.frozen.logistic import Head
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext

SIZE, IMAGES, STEPS, EPSILON = 96, 32, 20, 1 / 255
STRENGTH = 0.01
BAR = 1.5

Given = tuple[Backbone, InputTransform, Head, torch.Tensor, torch.Tensor]
Found = tuple[float, torch.Tensor, torch.Tensor]


class Wrapped(nn.Module):
    """The attacked network as a plain module: pixels in [0, 1] to logits."""

    def __init__(self, network: nn.Module, transform: InputTransform, head: Head) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = (torch.tensor(v).view(1, -1, 1, 1) for v in (transform.mean, transform.std))
        self.head = nn.Linear(*head.weight.shape)
        weight = head.weight / head.scale[:, None]
        self.head.weight.data = torch.tensor(weight.T, dtype=torch.float32)
        self.head.bias.data = torch.tensor(head.bias - head.mean @ weight, dtype=torch.float32)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to (B, C)."""
        features: Any = self.network((images - self.mean) / self.std)
        logits: torch.Tensor = self.head(features)
        return logits


def ours(given: Given) -> Found:
    """Seconds, adversarial images and logits of `pgd`."""
    backbone, transform, head, images, labels = given
    start = time.perf_counter()
    with frozen_module(backbone.module):
        found = pgd(
            pixels_to_logits(backbone, transform, head), images, labels, EPSILON, steps=STEPS, step_size=EPSILON / 5
        )
    return time.perf_counter() - start, found.images, found.logits


def theirs(given: Given, layout: torch.memory_format) -> Found:
    """The same of torchattacks, in that memory layout."""
    from torchattacks import PGD  # type: ignore[import-not-found,unused-ignore]

    backbone, transform, head, images, labels = given
    model = Wrapped(backbone.module, transform, head).eval().to(memory_format=layout)
    images = images.contiguous(memory_format=layout)
    start = time.perf_counter()
    moved = PGD(model, eps=EPSILON, alpha=EPSILON / 5, steps=STEPS, random_start=False)(images, labels)
    with torch.no_grad():
        logits = model(moved)
    return time.perf_counter() - start, moved, logits


SIDES: Mapping[str, Callable[[Given], Found]] = {
    "ours": ours,
    "torchattacks": partial(theirs, layout=torch.contiguous_format),
    "torchattacks, channels last": partial(theirs, layout=torch.channels_last),
}


def given() -> Given:
    """Backbone, transform, the linear probe's head, and the first images of `photos` with their labels."""
    backbone = load_backbone(resolve("efficientnet_lite0", UserConfig(Path())))
    dataset = load_dataset("photos")
    transform = backbone.identity.input_transform(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        head = (
            LinearProbe(SIZE, (STRENGTH,))
            .classifiers(backbone, dataset, RunContext(Artifacts(Path(folder))))[0]
            .probe.head
        )
    test = dataset["test"].take(np.arange(0, 13 * IMAGES, 13), "benchmark")
    return backbone, transform, head, next(pixel_batches(test, transform, IMAGES)), torch.from_numpy(test.targets)


def attack(side: str, folder: Path) -> Callable[[], float]:
    """A side's attack: a call that gives its seconds; images and logits go into the folder."""
    setup = given()

    def once() -> float:
        seconds, images, logits = SIDES[side](setup)
        np.savez(folder / f"{side}.npz", images=images.numpy(), logits=logits.numpy(), labels=setup[-1].numpy())
        return seconds

    return once


def main() -> None:
    """Print the table; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="1 on a busy machine: threads wait for each other")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        torch.set_num_threads(options.threads)
        serve(attack(options.serve, options.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        common = ["--threads", str(options.threads), "--folder", folder]
        seconds = in_processes(__file__, SIDES, common, options.repeats)
        found = {side: dict(np.load(Path(folder) / f"{side}.npz")) for side in SIDES}
    print(f"{IMAGES} images at {SIZE} px, {STEPS} steps, {options.threads} threads, {load()}")
    mine = found["ours"]
    faster, same = {}, {}
    for side, times in seconds.items():
        faster[side] = ratios(times, seconds["ours"])
        same[side] = np.array_equal(found[side]["images"], mine["images"])
        predicted = found[side]["logits"].argmax(1)
        print(
            f"{side:28}{spread(times)} s, ratio {spread(faster[side])}; "
            f"right {(predicted == found[side]['labels']).sum()}, predicted as ours "
            f"{(predicted == mine['logits'].argmax(1)).sum()} of {IMAGES}, images equal: {same[side]}"
        )
    met = statistics.median(faster["torchattacks"]) >= BAR and same["torchattacks, channels last"]
    print("bar met" if met else "bar MISSED")
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
