"""What settings save by sharing: images that go through EfficientNet-Lite0 for fine-tuning and all that tests it.

    python benchmarks/reuse.py [--max-steps N]

Fine-tuning on `photos`, its four shifts, its calibration and both attacks, at mini scale: with one cache for all, and
each with a fresh one. Counted where images enter the backbone, with the two of zeros by which a new head learns its
width. A count, so that the load of the machine does not matter.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bob_gauntlet.backbones.backbone import Backbone
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


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """A call that gives the images that went through any backbone since it was last asked."""
    embed, images = Backbone.embed, [0]

    def counting(backbone: Backbone, batch: torch.Tensor) -> torch.Tensor:
        images[0] += len(batch)
        return embed(backbone, batch)

    def since() -> int:
        found, images[0] = images[0], 0
        return found

    with patch.object(Backbone, "embed", counting):
        yield since


def images_forwarded(spec: str, max_steps: int | None) -> dict[str, tuple[int, int]]:
    """Setting -> images with the cache of those before it, and with a fresh one; printed as they come."""
    backbone = load_backbone(resolve(spec, UserConfig(Path())))
    found = {}
    print(f"{'':38}{'one cache':>10}{'its own':>10}")
    with counted() as since, tempfile.TemporaryDirectory() as shared:
        for name, (recipe, dataset) in SETTINGS.items():
            images = []
            with tempfile.TemporaryDirectory() as fresh:
                for folder in (shared, fresh):
                    context = RunContext(Artifacts(Path(folder)), loaders=1, max_steps=max_steps)
                    list(at_scale(recipe, "mini").evaluate(backbone, load_dataset(dataset), context))
                    images.append(since())
            found[name] = images[0], images[1]
            print(f"{name:38}{images[0]:10,}{images[1]:10,}", flush=True)
    return found


def main() -> None:
    """Print the table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--max-steps", type=int, help="cut every training short, to try the script")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = images_forwarded(options.backbone, options.max_steps)
    together, apart = (sum(pair[side] for pair in found.values()) for side in (0, 1))
    print(f"{'all':38}{together:10,}{apart:10,}")
    print(f"each with a cache of its own forwards {apart / together:.2f} times the images")


if __name__ == "__main__":
    main()
