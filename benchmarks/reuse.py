"""Count the images that sharing saves: those that EfficientNet-Lite0 processes for fine-tuning and its evaluations.

    python benchmarks/reuse.py [--max-steps N]

The settings are fine-tuning on `photos`, its four shifts, its calibration and both attacks, at mini scale; once with
one cache for all, and once with an empty cache for each. Images are counted where they enter the backbone, including
the two images of zeros from which a new head gets its width. Counts do not depend on the load of the machine.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.loading import load as load_dataset
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Recipe, at_scale
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.run_config import RunConfig

HEAD = FineTune()
SETTINGS: Mapping[str, tuple[Recipe, str]] = {
    "finetune@photos": (HEAD, "photos"),
    **{
        f"ood-finetune@photos-{shift}": (OOD(head=HEAD), f"photos-{shift}")
        for shift in ("sketch", "rendition", "recollected", "hard")
    },
    "calibration-finetune@photos": (Calibration(head=HEAD), "photos"),
    **{f"adversarial-finetune-eps{e}@photos": (Adversarial(head=HEAD, epsilon_255=e), "photos") for e in (1, 2)},
}


def images_forwarded(spec: str, max_steps: int | None) -> dict[str, tuple[int, int]]:
    """Return setting -> number of images with the shared cache and with an empty cache; print them as they come."""
    backbone = load_backbone(resolve(spec, UserConfig(Path())))
    counts = {}
    print(f"{'':38}{'one cache':>10}{'its own':>10}")
    with count_forwards() as count, tempfile.TemporaryDirectory() as shared:
        for name, (recipe, dataset) in SETTINGS.items():
            images = []
            with tempfile.TemporaryDirectory() as fresh:
                for folder in (shared, fresh):
                    context = RunContext(Artifacts(Path(folder)), RunConfig(loader_processes=1, max_steps=max_steps))
                    list(at_scale(recipe, "mini").evaluate(backbone, load_dataset(dataset), context))
                    images.append(count.since_last())
            counts[name] = images[0], images[1]
            print(f"{name:38}{images[0]:10,}{images[1]:10,}", flush=True)
    return counts


def main() -> None:
    """Print the counts and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--max-steps", type=int, help="Stop every training after so many steps, to try the script.")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    counts = images_forwarded(options.backbone, options.max_steps)
    shared, separate = (sum(pair[side] for pair in counts.values()) for side in (0, 1))
    print(f"{'all':38}{shared:10,}{separate:10,}")
    print(f"with separate caches, {separate / shared:.2f} times as many images are processed")


if __name__ == "__main__":
    main()
