"""Compare feature extraction with the network alone on one GPU: is the reading of images fast enough?

    python benchmarks/pipeline.py [--images 4000] [--repeats 3] [--device cuda]

ViT-B/16 with random weights at 224 px processes JPEG files of 500 x 375 pixels. Measured in turn: `features` with an
empty cache; reading and preparing the files without a network; and the network alone on a batch that is already on the
device, as the package runs it (torch's default settings) and in strict float32. The target: extraction reaches 90% of
the speed of the network as the package runs it. `--device cpu` tries the script on 64 images with a small network,
without a target.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load, format_spread, ratios, run_in_turn, time_call
from benchmarks.photo_files import write_photo_files
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine.frozen.features import features, load_batches
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.devices import cores
from bob_gauntlet.runtime.run_config import RunConfig

NETWORKS = {"cuda": "random:vit_base_patch16_224", "cpu": "random:vit_tiny_patch16_224"}
IMAGES = {"cuda": 4000, "cpu": 64}
TARGET = 0.9


def run_extraction(backbone: Backbone, images: Split, batch: int) -> None:
    """Extract features as the package does, with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        processes = 1 if backbone.device == "cpu" else min(16, cores())
        config = RunConfig(device=backbone.device, batch_size=batch, loader_processes=processes)
        context = RunContext(Artifacts(Path(folder)), config)
        features(backbone, images, backbone.identity.transform, context)


def run_reading(backbone: Backbone, images: Split, batch: int) -> None:
    """Read and prepare batches of images in the same way as the extraction."""
    for _ in load_batches(images, backbone.identity.transform, batch, on_cpu=backbone.device == "cpu"):
        pass


def run_network(backbone: Backbone, images: Split, batch: int) -> None:
    """Run the network on the same number of images, always the same batch."""
    inputs = torch.rand(
        batch, 3, backbone.identity.transform.size, backbone.identity.transform.size, device=backbone.device
    )
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            backbone.embed(inputs[: len(images) - start])
    if backbone.device != "cpu":
        torch.cuda.synchronize(backbone.device)


def run_network_strict(backbone: Backbone, images: Split, batch: int) -> None:
    """Run the network in the same way without TF32."""
    with strict_float32():
        run_network(backbone, images, batch)


@contextmanager
def strict_float32() -> Iterator[None]:
    """Turn off TF32 in matrix products and convolutions."""
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
    "extraction": run_extraction,
    "reading alone": run_reading,
    "network alone": run_network,
    "network alone, strict float32": run_network_strict,
}


def measure_rates(backbone: Backbone, images: Split, batch: int, repeats: int) -> dict[str, list[float]]:
    """Measure the images/s of every side, in turn."""
    calls = {name: partial(time_call, partial(side, backbone, images, batch)) for name, side in SIDES.items()}
    results = run_in_turn(calls, repeats, warm_up=1)
    return {name: [len(images) / seconds for seconds, _ in rounds] for name, rounds in results.items()}


def main() -> None:
    """Print the rates; exit with 1 if the target is missed, with 0 if there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=NETWORKS, default="cuda")
    parser.add_argument("--images", type=int, help="Number of images (default 4,000; on a CPU 64).")
    parser.add_argument("--batch", type=int, default=RunConfig.batch_size, help="Images of one forward pass.")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("this benchmark needs a GPU; --device cpu tries the script on 64 images")
        return
    backbone = load_backbone(resolve(NETWORKS[options.device], UserConfig(Path())), options.device)
    with tempfile.TemporaryDirectory() as folder:
        images = write_photo_files(Path(folder), options.images or IMAGES[options.device])
        rates = measure_rates(backbone, images, options.batch, options.repeats)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{backbone.name}, {len(images):,} JPEG files, batch {options.batch}")
    print(f"{device}, {cores()} cores, {describe_load()}")
    for side, per_second in rates.items():
        print(f"{side:32}{format_spread(per_second, 0)} images/s")
    shares = ratios(rates["extraction"], rates["network alone"])
    print(f"{'extraction / network alone':32}{format_spread(shares)}   (target: at least {TARGET})")
    raise SystemExit(options.device == "cuda" and statistics.median(shares) < TARGET)


if __name__ == "__main__":
    main()
