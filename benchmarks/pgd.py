"""Time PGD with 20 steps on 32 photos, EfficientNet-Lite0 at 96 px: our `pgd` against torchattacks.PGD.

    pip install --no-deps --target /tmp/torchattacks torchattacks
    PYTHONPATH=/tmp/torchattacks python benchmarks/pgd.py [--repeats 7] [--threads 2]

Both sides attack the same pixels, labels and linear head from the same start, with epsilon 1/255 and steps of a fifth
of it, and evaluate the last iterate. torchattacks gets the network as its users wrap it: a module from pixels to
logits. A third side is torchattacks with our memory layout, channels last: twenty steps along signs magnify the
rounding differences between layouts, so only equal layouts give equal images. Each side runs in its own process, since
the allocator's thresholds apply to a whole process. All processes stay alive and take turns, so that other load on the
machine slows all of them. The target: ours is at least 1.5 times as fast as torchattacks, and its images equal those of
torchattacks in channels last.
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

from benchmarks.paired import describe_load, format_spread, ratios, run_in_processes, serve
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
TARGET = 1.5

Inputs = tuple[Backbone, InputTransform, Head, torch.Tensor, torch.Tensor]
"""Backbone, transform, head, images, labels."""

Attacked = tuple[float, torch.Tensor, torch.Tensor]
"""Seconds, adversarial images, logits."""


class PixelClassifier(nn.Module):
    """The attacked network as a plain module from pixels in [0, 1] to logits."""

    def __init__(self, network: nn.Module, transform: InputTransform, head: Head) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = (torch.tensor(v).view(1, -1, 1, 1) for v in (transform.mean, transform.std))
        self.head = nn.Linear(*head.weight.shape)
        weight = head.weight / head.scale[:, None]
        self.head.weight.data = torch.tensor(weight.T, dtype=torch.float32)
        self.head.bias.data = torch.tensor(head.bias - head.mean @ weight, dtype=torch.float32)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) pixels to (B, C) logits."""
        features: Any = self.network((images - self.mean) / self.std)
        logits: torch.Tensor = self.head(features)
        return logits


def attack_ours(inputs: Inputs) -> Attacked:
    """Attack with `pgd`."""
    backbone, transform, head, images, labels = inputs
    start = time.perf_counter()
    with frozen_module(backbone.module):
        result = pgd(
            pixels_to_logits(backbone, transform, head), images, labels, EPSILON, steps=STEPS, step_size=EPSILON / 5
        )
    return time.perf_counter() - start, result.images, result.logits


def attack_torchattacks(inputs: Inputs, layout: torch.memory_format) -> Attacked:
    """Attack with torchattacks, in the given memory layout."""
    from torchattacks import PGD  # type: ignore[import-not-found,unused-ignore]

    backbone, transform, head, images, labels = inputs
    model = PixelClassifier(backbone.module, transform, head).eval().to(memory_format=layout)
    images = images.contiguous(memory_format=layout)
    start = time.perf_counter()
    adversarial = PGD(model, eps=EPSILON, alpha=EPSILON / 5, steps=STEPS, random_start=False)(images, labels)
    with torch.no_grad():
        logits = model(adversarial)
    return time.perf_counter() - start, adversarial, logits


SIDES: Mapping[str, Callable[[Inputs], Attacked]] = {
    "ours": attack_ours,
    "torchattacks": partial(attack_torchattacks, layout=torch.contiguous_format),
    "torchattacks, channels last": partial(attack_torchattacks, layout=torch.channels_last),
}


def load_inputs() -> Inputs:
    """Load the backbone, its transform, the linear probe's head, and test images of `photos` with their labels."""
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


def prepare(side: str, folder: Path) -> Callable[[], float]:
    """Return a call that attacks with one side and returns its seconds; images and logits go into `folder`."""
    inputs = load_inputs()

    def attack() -> float:
        seconds, images, logits = SIDES[side](inputs)
        np.savez(folder / f"{side}.npz", images=images.numpy(), logits=logits.numpy(), labels=inputs[-1].numpy())
        return seconds

    return attack


def main() -> None:
    """Print the table; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="Number of threads; use 1 if the machine is busy.")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        torch.set_num_threads(options.threads)
        serve(prepare(options.serve, options.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        common = ["--threads", str(options.threads), "--folder", folder]
        seconds_by_side = run_in_processes(__file__, SIDES, common, options.repeats)
        outputs = {side: dict(np.load(Path(folder) / f"{side}.npz")) for side in SIDES}
    print(f"{IMAGES} images at {SIZE} px, {STEPS} steps, {options.threads} threads, {describe_load()}")
    our_output = outputs["ours"]
    times_faster, equal_images = {}, {}
    for side, seconds in seconds_by_side.items():
        times_faster[side] = ratios(seconds, seconds_by_side["ours"])
        equal_images[side] = np.array_equal(outputs[side]["images"], our_output["images"])
        predicted, labels = outputs[side]["logits"].argmax(1), outputs[side]["labels"]
        same = (predicted == our_output["logits"].argmax(1)).sum()
        print(
            f"{side:28}{format_spread(seconds)} s, {format_spread(times_faster[side])} times ours; "
            f"{(predicted == labels).sum()} correct, {same} of {IMAGES} predictions equal to ours, "
            f"images equal to ours: {equal_images[side]}"
        )
    met = statistics.median(times_faster["torchattacks"]) >= TARGET and equal_images["torchattacks, channels last"]
    print("target met" if met else "target MISSED")
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
