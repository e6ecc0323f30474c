"""What a backbone is before anything is loaded: its parsed SPEC, input transform, traits and ticket. No torch."""

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
        """One line that stands for the transform in identities and cache keys."""
        mean, std = ("/".join(f"{v:.6g}" for v in values) for values in (self.mean, self.std))
        return f"{self.size}px crop {self.crop_pct:.6g} {self.interpolation} mean {mean} std {std}"

    def at_size(self, size: int | None) -> Self:
        """The same transform at another input size; None keeps the backbone's own."""
        return self if size is None else replace(self, size=size)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a recipe may branch on, and what a report shows."""

    family: Family
    pretrained: bool
    # width D of the pooled pre-logits features; 0 where only a forward pass would tell
    features: int
    # parameters in millions, without a classifier
    params: float
    # strides of the feature maps, () where the architecture gives none
    strides: tuple[int, ...] = ()
    # False where the architecture takes its own input size only; else what an input size has to be a multiple of
    any_size: bool = True
    size_multiple: int = 1


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A parsed `--backbone` value: where the network comes from, and under what name it is reported."""

    # as reported, and as typed
    name: str
    text: str
    scheme: Literal["timm", "random", "package", "factory"]
    # timm architecture with tag where typed, or "module:callable"
    target: str
    # constructor arguments, `timm:vit_small_patch16_224,num_heads=12@ckpt.pth`
    arguments: Mapping[str, Any] = field(default_factory=dict)
    # local checkpoint, absolute; "" for none
    path: str = ""
    # of a random initialisation
    seed: int = 0
    # what the user declared of its input: size, mean, std, interpolation, crop_pct
    transform: Mapping[str, Any] = field(default_factory=dict)
    # a checkpoint that fills less than the whole backbone is taken
    allow_partial: bool = False


@dataclass(frozen=True, kw_only=True)
class BackboneIdentity:
    """What identifying a backbone found: enough to look up its scores without loading it again."""

    fingerprint: str
    transform: InputTransform
    traits: Traits
    # what an untagged timm name resolved to, licence, checkpoint file and digest, package versions: provenance
    details: Mapping[str, Any] = field(default_factory=dict)

    def input_transform(self, size: int | None) -> InputTransform:
        """The backbone's transform at that input size; at its own where None, or where it takes no other."""
        if size is None or not self.traits.any_size:
            return self.transform
        multiple = self.traits.size_multiple
        return self.transform.at_size(max(multiple, round(size / multiple) * multiple))

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""

        def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

        return cls(
            fingerprint=plain["fingerprint"],
            transform=InputTransform(**tuples(plain["transform"])),
            traits=Traits(**tuples(plain["traits"])),
            details=plain["details"],
        )
