"""Build the network that a BackboneSpec names, and its identity. Imports torch and timm."""

import importlib
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import timm
import torch
from torch import nn

from bob_gauntlet.backbones import checkpoints
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.filling import fill, fill_in_order
from bob_gauntlet.backbones.fingerprint import fingerprint, timm_code
from bob_gauntlet.backbones.modules import (
    check_tensors,
    copy_module,
    describe_structure,
    structure_code,
    to_float32,
)
from bob_gauntlet.backbones.probing import probe
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.backbones.traits import derive_traits, family_code, input_transform, warn_of_normalisation
from bob_gauntlet.backbones.zoo import ZOO
from bob_gauntlet.errors import UsageError, nearest

_OFFLINE = "without network access use timm:NAME@PATH, random:NAME, or efficientnet_lite0 of the mini extra"


def build(spec: BackboneSpec, device: str, network: nn.Module | None = None) -> Backbone:
    """Load the backbone of any spec onto a device, with its identity; a `network` of the caller is copied.

    A timm network of one input size is built for the wanted size, where its architecture and its weights allow that.
    Raises UsageError in one line for a network that cannot be used (see `backbones/probing.py`).
    """
    backbone = _assemble(spec, device, network)
    size, is_free = spec.wanted_size, backbone.identity.traits.any_size
    is_chosen = "size" in spec.transform or "img_size" in spec.arguments
    if size is None or is_free or is_chosen or spec.scheme in ("factory", "module"):
        return backbone
    arguments = {**spec.arguments, "img_size": size}
    try:
        return _assemble(replace(spec, arguments=arguments, wanted_size=None, allow_partial=False), device)
    except UsageError:  # its weights belong to one size
        return backbone


def _assemble(spec: BackboneSpec, device: str, network: nn.Module | None = None) -> Backbone:
    """Build the network of a spec, probe it, and return the backbone with its identity."""
    if network is not None:
        built = _copy_network(spec, network)
    else:
        built = _call_factory(spec) if spec.scheme == "factory" else _build_timm(spec)
    module, architecture, arguments, code, details = built
    transform, source = input_transform(module, spec, arguments)
    traits = derive_traits(module, arguments, pretrained=spec.scheme != "random")
    try:
        digest = fingerprint(module if network is None else network, architecture, arguments, code)
    except Exception as error:  # weights may be of any kind of tensor, such as those of a distributed training
        reason = f"{type(error).__name__}: {checkpoints.first_line(error)}"
        raise UsageError(f"{spec.name}: its weights cannot be read ({reason}); return plain tensors") from error
    identity = BackboneIdentity(fingerprint=digest, transform=transform, traits=traits)
    backbone = Backbone(spec, module, identity, device)
    traits, warnings = probe(backbone)
    normalisation = warn_of_normalisation(spec, transform)
    details |= {"transform_source": source, **({"normalisation": normalisation} if normalisation else {})}
    details["warnings"] = [*details.get("warnings", []), *warnings]
    backbone.identity = replace(identity, traits=traits, details=details)
    return backbone


_Built = tuple[nn.Module, str, dict[str, Any], dict[str, str], dict[str, Any]]
"""A network, its architecture, its constructor arguments, what identifies its code, and details for the provenance."""


def _build_timm(spec: BackboneSpec) -> _Built:
    """Build a timm network with its weights, which come from the hub, a file, a package or a seed."""
    if not timm.is_model(spec.target):
        known = nearest(spec.target, [*ZOO, *timm.list_models()])
        raise UsageError(f"unknown backbone {spec.text!r}{known or '; `bob zoo` lists the known names'}")
    from_hub = spec.scheme == "timm" and not spec.path
    if from_hub:
        _check_weights_reachable(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        module, arguments = _create(spec, pretrained=from_hub)
    details: dict[str, Any] = {"architecture": spec.target}
    if from_hub:
        details["resolved"] = f"{module.pretrained_cfg['architecture']}.{module.pretrained_cfg['tag']}".rstrip(".")  # type: ignore[index]
    if spec.path:
        details["checkpoint"] = Path(spec.path).name
        groups = checkpoints.read(Path(spec.path))
        if spec.scheme == "package":
            fill_in_order(module, groups[""], spec.name)
        else:
            details |= fill(module, groups, spec)
    # a network that was filled in part is another backbone than one that was saved with the same weights
    filled = {"partial": details["partial"]} if "partial" in details else {}
    return module, spec.target, {**arguments, **filled}, {**timm_code(), **family_code(module)}, details


def _create(spec: BackboneSpec, *, pretrained: bool) -> tuple[nn.Module, dict[str, Any]]:
    """Create the timm network without a classifier, and return it with its constructor arguments.

    Where the architecture can, the network takes any input size. Raises UsageError where timm cannot create it.
    """
    user_arguments = dict(spec.arguments)
    for extra in ({"dynamic_img_size": True}, {}):
        arguments = {"num_classes": 0, **extra, **user_arguments}
        try:
            return timm.create_model(spec.target, pretrained=pretrained, **arguments), arguments
        except TypeError as error:
            if "dynamic_img_size" not in str(error) and not extra:
                raise UsageError(f"--backbone {spec.text}: {error}") from error
        except Exception as error:  # a constructor may raise anything on a user's arguments, and so may a hub on a name
            raise UsageError(f"--backbone {spec.text}: {checkpoints.first_line(error)}") from error
    raise UsageError(f"--backbone {spec.text}: timm cannot build it with {user_arguments}; check the arguments")


def rebuild(backbone: Backbone, **arguments: Any) -> nn.Module | None:
    """Build the same timm network with other constructor arguments and the weights of the backbone.

    Returns None where the architecture does not take these arguments, or the backbone is not a timm network.
    """
    module = create_untrained(backbone.spec, **arguments)
    if module is not None:
        module.load_state_dict(backbone.module.state_dict())
    return module


def create_untrained(spec: BackboneSpec, **arguments: Any) -> nn.Module | None:
    """Create the timm network of a spec with other constructor arguments and seeded random weights.

    Returns None in the same cases as `rebuild`.
    """
    if spec.scheme in ("factory", "module"):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        try:
            return _create(replace(spec, arguments={**spec.arguments, **arguments}), pretrained=False)[0]
        except UsageError:
            return None


def _check_weights_reachable(spec: BackboneSpec) -> None:
    """Raise UsageError within seconds where the pretrained weights are neither cached nor reachable."""
    config = timm.models.get_pretrained_cfg(spec.target)
    if config is None or not config.has_weights:
        raise UsageError(f"timm has no pretrained weights for {spec.target}; {_OFFLINE}")
    address = _download_address(config)
    if address is None:
        return
    host, port = _connection_target(address)
    problem = _connection_problem(host, port)
    if problem:
        raise UsageError(f"{spec.name}: {host} cannot be reached ({problem}); {_OFFLINE}")


def _connection_target(address: str) -> tuple[str, int]:
    """Return the host and port that a download connects to: those of the address, or those of a proxy."""
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def _connection_problem(host: str, port: int, timeout: float = 8.0) -> str:
    """Return why no connection to a host can be opened, "" where it can be.

    `timeout` in seconds covers the name look-up and the attempts at all addresses of the host together.
    """
    results: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=5).close()
            results.append("")
        except OSError as error:
            results.append(checkpoints.first_line(error))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout)
    return results[0] if results else f"no answer in {timeout:g} s"


def _download_address(config: Any) -> str | None:
    """Return the address that the weights would be downloaded from; None where they are cached."""
    import huggingface_hub
    from huggingface_hub.constants import ENDPOINT

    if not config.hf_hub_id:
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(config.url or "").path).name
        return None if cached.is_file() else config.url
    for name in ("model.safetensors", "pytorch_model.bin", config.hf_hub_filename or "model.safetensors"):
        if isinstance(huggingface_hub.try_to_load_from_cache(config.hf_hub_id, name), str):
            return None
    return str(ENDPOINT)


def _call_factory(spec: BackboneSpec) -> _Built:
    """Import and call the user's function, and return the network that it builds."""
    module_name, _, function = spec.target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory: Any = importlib.import_module(module_name)
        for part in function.split("."):
            factory = getattr(factory, part)
    except Exception as error:  # the module is the user's code and may raise anything
        reason = f"{type(error).__name__}: {checkpoints.first_line(error)}"
        raise UsageError(f"--backbone {spec.text}: {reason}; type package.module:callable") from error
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            built = factory()
    except Exception as error:  # the factory is the user's code: whatever it raises is reported in one line
        reason = f"{type(error).__name__}: {checkpoints.first_line(error)}"
        raise UsageError(f"--backbone {spec.text} raised {reason}; correct the function") from error
    if not isinstance(built, nn.Module):
        raise UsageError(f"--backbone {spec.text} returned {type(built).__name__}, not an nn.Module; return one")
    check_tensors(built, spec.name)
    converted = to_float32(built)
    code = {**structure_code(built, factory, sys.modules[module_name]), **timm_code()}
    details = {"factory": spec.target, "notes": [converted] * bool(converted)}
    return built, spec.target, describe_structure(built), code, details


def _copy_network(spec: BackboneSpec, network: nn.Module) -> _Built:
    """Copy the caller's network and describe it: its class, the settings of all its parts, and the code of both."""
    check_tensors(network, spec.name)
    code = {**structure_code(network), **timm_code()}
    return copy_module(network, spec.name), spec.target, describe_structure(network), code, {"module": spec.target}
