"""Descriptions of a backbone that need no torch: its parsed SPEC, input transform, traits and identity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

Family = Literal["conv", "transformer", "hybrid"]


@dataclass(frozen=True, kw_only=True)
class InputTransform:
    """How an image becomes a backbone's input: resize the short side to size / crop_pct, centre crop, normalise."""

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
    # whether a checkpoint that fills only a part of the backbone is accepted
    allow_partial: bool = False


@dataclass(frozen=True, kw_only=True)
class BackboneIdentity:
    """Identity of a backbone: enough to look up its scores without loading the backbone again."""

    fingerprint: str
    transform: InputTransform
    traits: Traits
    # provenance: architecture or factory, what an untagged timm name resolved to, checkpoint file and what was read of
    # it (`backbones.filling.fill`)
    details: Mapping[str, Any] = field(default_factory=dict)

    def input_transform(self, size: int | None) -> InputTransform:
        """Return the backbone's transform at an input size, rounded to a multiple that the backbone takes.

        The transform is unchanged where `size` is None, or where the backbone takes no other size.
        """
        if size is None or not self.traits.any_size:
            return self.transform
        multiple = self.traits.size_multiple
        return self.transform.at_size(max(multiple, round(size / multiple) * multiple))

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
