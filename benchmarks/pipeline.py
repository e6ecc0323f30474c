"""Extraction against the network alone on one GPU: does the reading of images keep up?

    python benchmarks/pipeline.py [--images 4000] [--repeats 3] [--device cuda]

ViT-B/16 with random weights at 224 px over JPEG files of 500 x 375, in turn: `features` into an empty cache; the files
read and prepared without a network; and the network alone on a batch that lies on the device, as the package runs it
(torch's own settings) and in strict float32. The bar: extraction at 90% of the network as the package runs it.
`--device cpu` tries the script on 64 images with a small network and has no bar.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import in_turn, load, ratios, spread, timed
from benchmarks.photo_files import photo_files
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine.frozen.features import features, load_batches
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.devices import cores

NETWORKS = {"cuda": "random:vit_base_patch16_224", "cpu": "random:vit_tiny_patch16_224"}
IMAGES = {"cuda": 4000, "cpu": 64}
BAR = 0.9


def extraction(backbone: Backbone, images: Split, batch: int) -> None:
    """The package's, into an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        loaders = 1 if backbone.device == "cpu" else min(16, cores())
        context = RunContext(Artifacts(Path(folder)), device=backbone.device, batch_size=batch, loaders=loaders)
        features(backbone, images, backbone.identity.transform, context)


def reading(backbone: Backbone, images: Split, batch: int) -> None:
    """Files to batches, as extraction does it."""
    for _ in load_batches(images, backbone.identity.transform, batch, on_cpu=backbone.device == "cpu"):
        pass


def forward(backbone: Backbone, images: Split, batch: int) -> None:
    """As many images through the network, always the same ones."""
    given = torch.rand(
        batch, 3, backbone.identity.transform.size, backbone.identity.transform.size, device=backbone.device
    )
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            backbone.embed(given[: len(images) - start])
    if backbone.device != "cpu":
        torch.cuda.synchronize(backbone.device)


def strict_forward(backbone: Backbone, images: Split, batch: int) -> None:
    """The same without TF32."""
    with strict_float32():
        forward(backbone, images, batch)


@contextmanager
def strict_float32() -> Iterator[None]:
    """No TF32 in matrix products and convolutions."""
    flags: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = False
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


SIDES: dict[str, Callable[[Backbone, Split, int], None]] = {
    "extraction": extraction,
    "reading alone": reading,
    "network alone": forward,
    "network alone, strict float32": strict_forward,
}


def rates(backbone: Backbone, images: Split, batch: int, repeats: int) -> dict[str, list[float]]:
    """Images/s of every side, in turn."""
    calls = {name: lambda s=side: timed(lambda: s(backbone, images, batch))[0] for name, side in SIDES.items()}
    found = in_turn(calls, repeats, warm_up=1)
    return {name: [len(images) / seconds for seconds in taken] for name, taken in found.items()}


def main() -> None:
    """Print the rates; exit 1 where the bar is missed, 0 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=NETWORKS, default="cuda")
    parser.add_argument("--images", type=int, help="default: 4,000, on a CPU 64")
    parser.add_argument("--batch", type=int, default=RunContext.batch_size, help="images of one forward pass")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("needs a GPU; --device cpu tries the script on 64 images")
        return
    backbone = load_backbone(resolve(NETWORKS[options.device], UserConfig(Path())), options.device)
    with tempfile.TemporaryDirectory() as folder:
        images = photo_files(Path(folder), options.images or IMAGES[options.device])
        found = rates(backbone, images, options.batch, options.repeats)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{backbone.name}, {len(images):,} JPEG files, batch {options.batch}, {name}, {cores()} cores, {load()}")
    for side, per_second in found.items():
        print(f"{side:32}{spread(per_second, 0)} images/s")
    shares = ratios(found["extraction"], found["network alone"])
    print(f"{'extraction / network alone':32}{spread(shares)}   (bar: at least {BAR})")
    raise SystemExit(options.device == "cuda" and statistics.median(shares) < BAR)


if __name__ == "__main__":
    main()
