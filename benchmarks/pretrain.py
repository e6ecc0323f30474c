"""Pretrains small networks of four families on the mini datasets' training parts, one CPU thread, minutes each.

    python benchmarks/pretrain.py [--out FOLDER] [--only NAME ...]

Of each network it writes FOLDER/NAME.safetensors, the weights without classifier, and FOLDER/NAME.json, how they came
about; a network that is there already is skipped. `spec("resnet-supervised")` is what to type after `--backbone`.
The networks show that the tool tells pretrained backbones apart; they are good at nothing else.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pretraining.networks import DEFAULT, NETWORKS, Network, spec

if TYPE_CHECKING:
    from benchmarks.pretraining.pool import Pool


def pretrain(network: Network, folder: Path, pool: "Pool") -> dict[str, Any]:
    """Train one network and write its two files, the recipe last; returns the recipe."""
    from safetensors.torch import save_file

    from benchmarks.pretraining.training import start, train

    began = time.monotonic()
    backbone = start(network.architecture, network.seed)
    losses = train(network, backbone, pool)
    checkpoint = folder / f"{network.name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in backbone.module.state_dict().items()}, partial)
    partial.replace(checkpoint)
    transform = backbone.identity.transform
    recipe = {
        **asdict(network),
        "spec": spec(network.name, folder) if network in NETWORKS else "",
        "timm": backbone.spec.target,
        "arguments": dict(backbone.spec.arguments),
        "parameters": sum(p.numel() for p in backbone.module.parameters()),
        "input": {"size": pool.size, "mean": transform.mean, "std": transform.std},
        "data": pool.described,
        "optimiser": "AdamW, 5% warm-up, cosine decay, gradient norm at most 3",
        "final_loss": sum(losses[-20:]) / len(losses[-20:]),
        "seconds": round(time.monotonic() - began, 1),
        "versions": _versions(),
        "sha256": _digest(checkpoint),
    }
    (folder / f"{network.name}.json").write_text(json.dumps(recipe, indent=2) + "\n")
    return recipe


def is_done(network: Network, folder: Path) -> bool:
    """Whether the network's files are there, belong together, and come from this very recipe."""
    checkpoint, described = folder / f"{network.name}.safetensors", folder / f"{network.name}.json"
    if not (checkpoint.is_file() and described.is_file()):
        return False
    recipe: Mapping[str, Any] = json.loads(described.read_text())
    same = all(recipe.get(key) == value for key, value in asdict(network).items())
    return same and recipe["sha256"] == _digest(checkpoint)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pretrain what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=DEFAULT, metavar="FOLDER", help=f"where to write (default {DEFAULT})"
    )
    names = [network.name for network in NETWORKS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    chosen = parser.parse_args(arguments)
    wanted = [network for network in NETWORKS if not chosen.only or network.name in chosen.only]
    missing = [network for network in wanted if not is_done(network, chosen.out)]
    for network in wanted:
        if network not in missing:
            print(f"{network.name}: already there")
    if not missing:
        return

    from benchmarks.pretraining.pool import build
    from benchmarks.pretraining.training import one_thread

    one_thread()
    pool = build()
    for network in missing:
        recipe = pretrain(network, chosen.out, pool)
        print(
            f"{network.name}: loss {recipe['final_loss']:.3f}, {recipe['seconds']:.0f} s, {recipe['spec']}", flush=True
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "timm", "torchvision", "numpy", "pillow", "scikit-image", "scikit-learn", "matplotlib")
    return {"python": sys.version.split()[0], **{package: version(package) for package in packages}}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
