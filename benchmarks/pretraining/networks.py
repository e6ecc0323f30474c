"""The small networks that `benchmarks/pretrain.py` trains."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT = Path(".bob/pretrained")
"""The folder that checkpoints are written to by default."""


@dataclass(frozen=True)
class NetworkConfig:
    """Name, timm architecture and recipe of a network; the architecture is what a SPEC has between `timm:` and `@`."""

    name: str
    architecture: str
    # a key of benchmarks.pretraining.objectives.OBJECTIVES
    method: str
    steps: int
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0

    @property
    def family(self) -> str:
        """The word before the hyphen: resnet, convnext, vit, swin."""
        return self.name.partition("-")[0]


RESNET = "resnet10t,stem_width=16,channels=32-64-128-256"
CONVNEXT = "convnext_atto,depths=1-1-3-1,dims=32-64-128-256"
VIT = "vit_tiny_patch16_224,img_size=96,embed_dim=128,depth=6,num_heads=4"
# the windows fit an input of 96 px; `strict_img_size=False` accepts other sizes too
SWIN = (
    "swin_tiny_patch4_window7_224,img_size=96,window_size=6,strict_img_size=False,"
    "embed_dim=32,depths=1-1-2-1,num_heads=1-2-4-8"
)

NETWORKS = (
    NetworkConfig("resnet-supervised", RESNET, "supervised", steps=900),
    NetworkConfig("resnet-simclr", RESNET, "simclr", steps=350, batch=64),
    NetworkConfig("convnext-supervised", CONVNEXT, "supervised", steps=1000, learning_rate=2e-3),
    NetworkConfig("convnext-rotation", CONVNEXT, "rotation", steps=300, batch=48),
    NetworkConfig("vit-supervised", VIT, "supervised", steps=900),
    NetworkConfig("vit-simclr", VIT, "simclr", steps=400, batch=48),
    NetworkConfig("swin-supervised", SWIN, "supervised", steps=700),
    NetworkConfig("swin-rotation", SWIN, "rotation", steps=300, batch=48),
)


def backbone_spec(name: str, folder: Path = DEFAULT) -> str:
    """Return the SPEC for `--backbone` of a network whose checkpoint is in `folder`.

    >>> backbone_spec("resnet-simclr", Path("here"))
    'timm:resnet10t,stem_width=16,channels=32-64-128-256@here/resnet-simclr.safetensors'
    """
    [network] = [network for network in NETWORKS if network.name == name]
    return f"timm:{network.architecture}@{folder / name}.safetensors"
