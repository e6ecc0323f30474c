"""From a BackboneSpec to its ticket or to the loaded Backbone. torch and timm are imported on first use."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bob_gauntlet.backbones.checkpoints import check_file
from bob_gauntlet.backbones.fingerprint import ADAPTER_VERSION, file_digest
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.runtime.artifacts import Artifacts

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone


def memoisable(spec: BackboneSpec) -> bool:
    """Whether a ticket can be kept: everything that defines the backbone is named by the spec and a file's content.

    A factory may do anything, and a hub may serve other weights tomorrow: those are loaded to be identified.
    """
    return spec.scheme in ("random", "package") or bool(spec.path)


def identify(spec: BackboneSpec, artifacts: Artifacts) -> BackboneIdentity:
    """The ticket of a memoisable backbone, loading it only the first time."""
    return BackboneIdentity.from_dict(
        artifacts.memo("tickets", _ticket_key(spec), lambda: load(spec).identity.to_dict())
    )


def load(spec: BackboneSpec, device: str = "cpu") -> "Backbone":
    """The backbone, whole, in evaluation mode.

    Raises UsageError with one line where its name, file, keys or factory is wrong, or a hub cannot be reached.
    """
    from pathlib import Path

    from bob_gauntlet.backbones.build import build

    if spec.path:
        check_file(Path(spec.path))
    return build(spec, device)


def _ticket_key(spec: BackboneSpec) -> dict[str, Any]:
    """Everything that a ticket depends on; reads the checkpoint's bytes, imports no torch."""
    return {
        "scheme": spec.scheme,
        "target": spec.target,
        "arguments": {name: str(value) for name, value in spec.arguments.items()},
        "seed": spec.seed,
        "transform": {name: str(value) for name, value in spec.transform.items()},
        "allow_partial": spec.allow_partial,
        "checkpoint": file_digest(spec.path),
        "adapter": ADAPTER_VERSION,
        "versions": {package: version(package) for package in ("timm", "torch")},
    }
