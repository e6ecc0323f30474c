"""Descriptions of a backbone that need no torch: its parsed SPEC, input transform, traits and identity."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from bob_gauntlet.scores.score import SIZE_TOLERANCE

Family = Literal["conv", "transformer", "hybrid", "mixer"]
"""The layers by which a network mixes the positions of an image: convolutions, attention, both, or others."""


MINI_SIZES = (96, 64)
"""Input sizes of the protocols at mini scale, in pixels; detection has sizes of its own."""


def wanted_size(scale: str) -> int | None:
    """Return the input size that a network of one size should be built for at a scale; None for its own.

    >>> wanted_size("mini")
    96
    """
    return MINI_SIZES[0] if scale == "mini" else None


@dataclass(frozen=True, kw_only=True)
class InputTransform:
    """The image transform of a backbone: resize the short side to size / crop_pct, crop the centre, normalise."""

    size: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop_pct: float = 0.875

    @property
    def canonical(self) -> str:
        """One line that describes the transform in identities and cache keys."""
        mean, std = ("/".join(f"{v:.6g}" for v in values) for values in (self.mean, self.std))
        return f"{self.size}px crop {self.crop_pct:.6g} {self.interpolation} mean {mean} std {std}"

    @property
    def described(self) -> str:
        """The transform for a reader: `crop 0.875, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5`, without the size."""
        mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return f"crop {self.crop_pct:.4g}, {self.interpolation}, mean {mean}, std {std}"

    def at_size(self, size: int | None) -> Self:
        """Return the same transform at another input size in pixels; None keeps the size."""
        return self if size is None else replace(self, size=size)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Properties of a network that a recipe may branch on and a report shows."""

    family: Family
    pretrained: bool
    # width D of the pooled pre-logits features; 0 where only a forward pass can tell it
    features: int
    # parameters in millions, without a classifier
    params: float
    # strides of the feature maps; () where the architecture gives no maps
    strides: tuple[int, ...] = ()
    # False where the architecture takes one input size only
    any_size: bool = True
    # number that an input size has to be a multiple of
    size_multiple: int = 1
    # the smallest input size that the architecture takes
    min_size: int = 1


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A parsed `--backbone` value: where the network comes from, and the name under which it is reported."""

    # name in reports
    name: str
    # what the user typed
    text: str
    scheme: Literal["timm", "random", "package", "factory", "module"]
    # timm architecture (with its tag if the user typed one), "module:callable", or the class of the caller's network
    target: str
    # constructor arguments, as in `timm:vit_small_patch16_224,num_heads=12@ckpt.pth`
    arguments: Mapping[str, Any] = field(default_factory=dict)
    # absolute path of a local checkpoint; "" for none
    path: str = ""
    # which network of the checkpoint, as in `timm:resnet50@moco.pth#encoder_q`; "" where there is only one
    part: str = ""
    # seed of a random initialisation
    seed: int = 0
    # fields of the input transform that the user declared: size, mean, std, interpolation, crop_pct
    transform: Mapping[str, Any] = field(default_factory=dict)
    # input size to build a timm network for, where it takes one size only and can be built for this one
    wanted_size: int | None = None
    # whether a checkpoint that fills only a part of the backbone is accepted
    allow_partial: bool = False


@dataclass(frozen=True, kw_only=True)
class BackboneIdentity:
    """Identity of a backbone: enough to look up its scores without loading the backbone again."""

    fingerprint: str
    transform: InputTransform
    traits: Traits
    # provenance: architecture or factory, what an untagged timm name resolved to, checkpoint file and what was read of
    # it (`backbones.filling.fill`), where the transform comes from ("transform_source"), what a session says before
    # anything runs ("notes", "warnings", "normalisation")
    details: Mapping[str, Any] = field(default_factory=dict)

    def input_transform(self, size: int | None) -> InputTransform:
        """Return the backbone's transform at an input size, rounded to a multiple that the backbone takes.

        A size below the smallest one that the backbone takes becomes the smallest one. The transform is unchanged where
        `size` is None, or where the backbone takes no other size.
        """
        if size is None or not self.traits.any_size:
            return self.transform
        multiple = self.traits.size_multiple
        smallest = math.ceil(self.traits.min_size / multiple) * multiple
        return self.transform.at_size(max(multiple, smallest, round(size / multiple) * multiple))

    def describe_input(self, scale: str) -> str:
        """Return the input sizes at a scale, the transform, where it comes from, and how to change it, in one line."""
        wanted = MINI_SIZES if scale == "mini" else (None,)
        sizes = dict.fromkeys(str(self.input_transform(size).size) for size in wanted)
        source = self.details.get("transform_source", "")
        return (
            f"input {' or '.join(sizes)} px, {self.transform.described}{f' ({source})' * bool(source)}; to change it, "
            "declare size, mean, std, interpolation or crop_pct in bob.toml"
        )

    def list_warnings(self, scale: str) -> list[str]:
        """Return what a user should be warned of before anything runs at a scale."""
        single = [str(self.details[key]) for key in ("normalisation", "partial") if key in self.details]
        warnings = [*self.details.get("warnings", ()), *single]
        sizes = {wanted: self.input_transform(wanted).size for wanted in MINI_SIZES}
        larger = {wanted: size for wanted, size in sizes.items() if size > SIZE_TOLERANCE * wanted}
        if scale == "mini" and larger:
            size, others = max(larger.values()), " or ".join(map(str, larger))
            warnings.append(
                f"it is measured at {size} px where other inputs have {others} px, and is ranked apart there"
            )
        return warnings

    def to_dict(self) -> dict[str, Any]:
        """Return the identity as plain types for JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the identity that `to_dict` wrote."""

        def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

        return cls(
            fingerprint=plain["fingerprint"],
            transform=InputTransform(**tuples(plain["transform"])),
            traits=Traits(**tuples(plain["traits"])),
            details=plain["details"],
        )


def check_identity(plain: Mapping[str, Any]) -> None:
    """Raise ValueError where the transform of a stored identity is none: a channel without mean or std, no size."""
    transform = plain["transform"]
    if not len(transform.get("mean", _CHANNELS)) == len(transform.get("std", _CHANNELS)) == len(_CHANNELS):
        raise ValueError("mean and std are not those of three channels")
    if transform["size"] < 1:
        raise ValueError(f"the input size {transform['size']} is not positive")


_CHANNELS = "RGB"
