"""Turn a BackboneSpec into its identity or into the loaded Backbone. torch and timm are imported on first use."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bob_gauntlet.backbones.checkpoints import READER_VERSION, check_file
from bob_gauntlet.backbones.fingerprint import ADAPTER_VERSION, file_digest
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec, check_identity
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.schema import json_schema

TRAITS_VERSION = 2
"""Version of what an identity says beside the fingerprint: traits, input transform, notes. No score depends on it."""

if TYPE_CHECKING:
    from torch import nn

    from bob_gauntlet.backbones.backbone import Backbone


def memoisable(spec: BackboneSpec) -> bool:
    """Return whether the identity can be stored: the spec and a file's content define the backbone completely.

    A factory may do anything, a hub may serve other weights tomorrow, and a network in the caller's process has no
    file: such backbones are loaded to identify them.
    """
    return spec.scheme in ("random", "package") or bool(spec.path)


def identify(spec: BackboneSpec, artifacts: Artifacts) -> BackboneIdentity:
    """Return the identity of a memoisable backbone, which is loaded only the first time."""
    schema = json_schema(BackboneIdentity, check_identity)
    memo = artifacts.memo("tickets", _identity_key(spec), lambda: load(spec).identity.to_dict(), schema)
    return BackboneIdentity.from_dict(memo)


def load(spec: BackboneSpec, device: str = "cpu", network: "nn.Module | None" = None) -> "Backbone":
    """Load the whole backbone, in evaluation mode; of a spec of scheme "module" a copy of the caller's `network`.

    Raises UsageError in one line where its name, file, keys or factory is wrong, or its hub cannot be reached.
    """
    from pathlib import Path

    from bob_gauntlet.backbones.build import build

    if spec.path:
        check_file(Path(spec.path))
    return build(spec, device, network)


def _identity_key(spec: BackboneSpec) -> dict[str, Any]:
    """Return everything that an identity depends on; reads the checkpoint's bytes, and does not import torch."""
    return {
        "scheme": spec.scheme,
        "target": spec.target,
        "arguments": {name: str(value) for name, value in spec.arguments.items()},
        "seed": spec.seed,
        "transform": {name: str(value) for name, value in spec.transform.items()},
        "allow_partial": spec.allow_partial,
        "part": spec.part,
        "reader": READER_VERSION,
        "checkpoint": file_digest(spec.path),
        "adapter": ADAPTER_VERSION,
        "traits": TRAITS_VERSION,
        "wanted_size": spec.wanted_size,
        "versions": {package: version(package) for package in ("timm", "torch")},
    }
