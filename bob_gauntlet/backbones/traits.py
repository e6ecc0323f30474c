"""Read the traits of a network: its family, width, parameters, strides, input sizes and input transform.

Imports torch and timm.
"""

import re
from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

from bob_gauntlet.backbones.backbone import map_reductions
from bob_gauntlet.backbones.spec import BackboneSpec, Family, InputTransform, Traits

_ATTENTION = re.compile(r"attn|attention|^mhsa$|^gpsa$|^litemla$|^shsa$|^shma$|^lambdalayer$|^hsmssd$")
"""Lower-case names of classes that mix positions by attention, or by a state space as attention does."""

_GATES = re.compile(
    r"^(light)?(channel|spatial)attn$|^splitattn$|^selectivekernelattn$|coordattn$|^stripattn$"
    r"|^efficientlocalattn$|^bilinearattntransform$|attentionpool(2d|latent|prr)?$"
)
"""Lower-case names of classes that are called attention and scale channels or pixels, or pool all positions."""

_MIXERS = frozenset({"mlpmixer", "sequencer2d"})
"""Lower-case names of networks that mix positions by linear or recurrent layers (Mixer, gMLP, ResMLP, Sequencer)."""


def derive_traits(module: nn.Module, arguments: Mapping[str, Any], *, pretrained: bool) -> Traits:
    """Return the traits of a network that was built with these constructor arguments."""
    config = _config(module)
    fixed = bool(config.get("fixed_input_size", False))
    patch: Any = getattr(getattr(module, "patch_embed", None), "patch_size", 1)
    width: Any = getattr(module, "head_hidden_size", None) or getattr(module, "num_features", 0)
    return Traits(
        family=classify_family(module),
        pretrained=pretrained,
        features=width if isinstance(width, int) else 0,
        params=round(sum(p.numel() for p in module.parameters()) / 1e6, 4),
        strides=tuple(sorted(set(map_reductions(module)))),
        any_size=not fixed or bool(_built_with(module, arguments).get("dynamic_img_size")),
        size_multiple=int(patch[0] if isinstance(patch, tuple) else patch),
        min_size=max(1, *(config.get("min_input_size") or (1,))[-2:]),
    )


def classify_family(module: nn.Module) -> Family:
    """Return the family of a network.

    A `mixer` mixes positions by linear or recurrent layers. A `conv` has no attention, or only a pool that attends. A
    `transformer` has attention, and at most four spatial convolutions (those of its stem). Everything else is a
    `hybrid`.
    """
    names = _class_names(module)
    if any(name in _MIXERS for name in names):
        return "mixer"
    return _by_attention(module, sum(bool(_ATTENTION.search(name)) and not _GATES.search(name) for name in names))


def family_code(module: nn.Module) -> dict[str, str]:
    """Return what a fingerprint has to say of the family: nothing, where it never was another one.

    Until 0.1.0 only classes with "attention" in their names counted, so that networks such as CaiT or Mixer were
    trained by the optimiser for convolutional networks in low-shot. Their scores are not those of today.
    """
    family = classify_family(module)
    named_layers = sum("attention" in name for name in _class_names(module))
    earlier = _by_attention(module, max(0, named_layers - 1))  # a single one counted as a pool
    return {} if family == earlier else {"family": family}


def input_transform(module: nn.Module, spec: BackboneSpec, arguments: Mapping[str, Any]) -> tuple[InputTransform, str]:
    """Return the input transform of a network and where it comes from.

    It is that of timm's data config; the size that the network was built for, and fields that the user declared,
    replace those of the config. A module without such a config has ImageNet's usual transform at 224 pixels.
    """
    config = _config(module)
    configured: dict[str, Any] = {}
    sources = ["ImageNet's usual values, since the module has no config of timm"]
    if config:
        resolved: Any = timm.data.resolve_data_config({}, pretrained_cfg=config)  # type: ignore[attr-defined, no-untyped-call]
        configured = {name: resolved[name] for name in ("interpolation", "crop_pct")}
        configured |= {"size": int(resolved["input_size"][-1])}
        configured |= {name: tuple(resolved[name]) for name in ("mean", "std")}
        sources = [_describe_config(config, spec)]
    if built_size := _built_size(module, arguments):
        configured["size"] = built_size
        sources.append(f"built for {built_size} px")
    if spec.transform:
        sources.append(f"{', '.join(spec.transform)} declared by you")
    return InputTransform(**{"size": 224, **configured, **spec.transform}), "; ".join(sources)


def warn_of_normalisation(spec: BackboneSpec, transform: InputTransform) -> str:
    """Return a warning where a user's file is normalised by a default of timm that many files do not share; else ""."""
    is_default = spec.scheme == "timm" and spec.path and "." not in spec.target
    usual = InputTransform(size=transform.size)
    is_usual = (transform.mean, transform.std) == (usual.mean, usual.std)
    if not is_default or is_usual or {"mean", "std"} & set(spec.transform):
        return ""
    mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (transform.mean, transform.std))
    return (
        f"its images are normalised by mean {mean} and std {std}, timm's default for {spec.target}; a file of another "
        "origin, such as MoCo v3 or DINO, needs its own: declare mean and std in bob.toml"
    )


def _describe_config(config: Mapping[str, Any], spec: BackboneSpec) -> str:
    """Return whose config the transform is; it says where the weights of the user's file may need another one."""
    name = f"{config.get('architecture', '')}.{config.get('tag', '')}".strip(".")
    if spec.scheme != "timm" or not spec.path:
        return f"timm's config of {name}"
    named = "which you named" if "." in spec.target else "timm's default for this architecture"
    return f"timm's config of {name}, {named}, since a file has none of its own"


def _built_size(module: nn.Module, arguments: Mapping[str, Any]) -> int | None:
    """Return the input size that was asked for as a constructor argument; None where none was."""
    size: Any = _built_with(module, arguments).get("img_size")
    size = size[-1] if isinstance(size, tuple | list) and size else size
    return size if isinstance(size, int) else None


def _built_with(module: nn.Module, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the constructor arguments of a network: the given ones, and those that timm noted on it."""
    noted: Any = getattr(module, "_model_args", None)
    return {**(noted if isinstance(noted, Mapping) else {}), **arguments}


def _config(module: nn.Module) -> Mapping[str, Any]:
    """Return timm's config of a network; {} for any other module."""
    config: Any = getattr(module, "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}


def _class_names(module: nn.Module) -> list[str]:
    """Return the lower-case name of the class of every part; of a scripted part that of the class it was made from."""
    return [str(getattr(part, "original_name", type(part).__name__)).lower() for part in module.modules()]


def _by_attention(module: nn.Module, attention_layers: int) -> Family:
    """Return the family that the number of attention layers and of spatial convolutions gives."""
    if not attention_layers:
        return "conv"
    convolutions = sum(isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1 for m in module.modules())
    return "transformer" if convolutions <= 4 else "hybrid"
