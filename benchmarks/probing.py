"""Time the probing forward that every backbone goes through when it is loaded, beside the rest of its loading.

    python benchmarks/probing.py [--repeats 5] [--backbone SPEC ...]

The ratio is the whole of loading over loading without the probe: 1.2 says that the probe adds a fifth.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load, format_spread, ratios, run_in_turn, time_call
from benchmarks.pretraining.networks import CONVNEXT, RESNET, SWIN, VIT
from bob_gauntlet.backbones import build
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.spec import BackboneSpec, Traits
from bob_gauntlet.config import UserConfig

BACKBONES = (
    "efficientnet_lite0",
    *(f"random:{name}" for name in (RESNET, CONVNEXT, VIT, SWIN)),
    "random:resnet50",
    "random:vit_base_patch16_224",
)


def load_without_probe(spec: BackboneSpec) -> Backbone:
    """Load a backbone as if every network kept the contract."""
    probe = build.probe
    build.probe = no_probe
    try:
        return load(spec)
    finally:
        build.probe = probe


def no_probe(backbone: Backbone) -> tuple[Traits, list[str]]:
    """Return what a probe returns, without a forward pass."""
    return backbone.identity.traits, []


def main() -> None:
    """Print a line for each backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backbone", action="append", metavar="SPEC")
    options = parser.parse_args()
    print(describe_load())
    for text in options.backbone or BACKBONES:
        spec = resolve(text, UserConfig(Path.cwd()))
        calls = {"with": partial(load, spec), "without": partial(load_without_probe, spec)}
        timed = {side: partial(time_call, call) for side, call in calls.items()}
        rounds = run_in_turn(timed, options.repeats, warm_up=1)
        seconds = {side: [taken for taken, _ in results] for side, results in rounds.items()}
        added = 1e3 * statistics.median(a - b for a, b in zip(seconds["with"], seconds["without"], strict=True))
        spread = format_spread(ratios(seconds["with"], seconds["without"]))
        print(f"{text.partition(',')[0]:38} {spread}   (the probe adds {added:.0f} ms)", flush=True)


if __name__ == "__main__":
    main()
