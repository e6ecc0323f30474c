"""Pretrain small networks of four families on the training parts of the mini datasets, minutes each on one CPU thread.

    python benchmarks/pretrain.py [--out FOLDER] [--only NAME ...]

For each network it writes FOLDER/NAME.safetensors, the weights without the classifier in half precision, and
FOLDER/NAME.json, the recipe. Networks that are already there are skipped. `backbone_spec("resnet-supervised")`
returns the value for `--backbone`. Another processor trains slightly other weights, so a network that is trained again
elsewhere is another backbone. The networks show that bob-gauntlet can tell pretrained backbones apart; they serve no
other purpose.
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

from benchmarks.pretraining.networks import DEFAULT, NETWORKS, NetworkConfig, backbone_spec

if TYPE_CHECKING:
    import torch

    from benchmarks.pretraining.pool import ImagePool


def pretrain(network: NetworkConfig, folder: Path, pool: "ImagePool") -> dict[str, Any]:
    """Train one network, write its two files, the recipe last, and return the recipe."""
    from safetensors.torch import save_file

    from benchmarks.pretraining.training import build_untrained, train

    began = time.monotonic()
    backbone = build_untrained(network.architecture, network.seed)
    losses = train(network, backbone, pool)
    checkpoint = folder / f"{network.name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    save_file(half_precision(backbone.module.state_dict()), partial)
    partial.replace(checkpoint)
    transform = backbone.identity.transform
    recipe = {
        **asdict(network),
        "spec": backbone_spec(network.name, folder) if network in NETWORKS else "",
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


def half_precision(weights: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Return weights as float16, which halves the files; counters, which are integers, stay as they are."""
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous() for name, tensor in weights.items()
    }


def is_done(network: NetworkConfig, folder: Path) -> bool:
    """Check that the network's files exist, belong together, and were made with exactly this recipe."""
    checkpoint, recipe_file = folder / f"{network.name}.safetensors", folder / f"{network.name}.json"
    if not (checkpoint.is_file() and recipe_file.is_file()):
        return False
    recipe: Mapping[str, Any] = json.loads(recipe_file.read_text())
    same = all(recipe.get(key) == value for key, value in asdict(network).items())
    return same and recipe["sha256"] == _digest(checkpoint)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pretrain the networks that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=DEFAULT, metavar="FOLDER", help=f"Folder to write to (default {DEFAULT})."
    )
    names = [network.name for network in NETWORKS]
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"Pretrain only this network: one of {', '.join(names)}. Can be repeated.",
    )
    options = parser.parse_args(arguments)
    wanted = [network for network in NETWORKS if not options.only or network.name in options.only]
    missing = [network for network in wanted if not is_done(network, options.out)]
    for network in wanted:
        if network not in missing:
            print(f"{network.name}: already pretrained")
    if not missing:
        return

    from benchmarks.pretraining.pool import build_pool
    from benchmarks.pretraining.training import use_one_thread

    use_one_thread()
    pool = build_pool()
    for network in missing:
        recipe = pretrain(network, options.out, pool)
        print(
            f"{network.name}: loss {recipe['final_loss']:.3f}, {recipe['seconds']:.0f} s, {recipe['spec']}", flush=True
        )


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect the weights."""
    from importlib.metadata import version

    packages = ("torch", "timm", "torchvision", "numpy", "pillow", "scikit-image", "scikit-learn", "matplotlib")
    return {"python": sys.version.split()[0], **{package: version(package) for package in packages}}


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
