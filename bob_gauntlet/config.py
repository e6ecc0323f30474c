"""The user's declarations in `bob.toml` or `[tool.bob]` of a pyproject.toml, and the `.bob` folder."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob_gauntlet.errors import UsageError


@dataclass(frozen=True)
class UserConfig:
    """The declarations of one file; relative paths in it are relative to `folder`."""

    folder: Path
    source: str = ""
    backbones: Mapping[str, Any] = field(default_factory=dict)
    # name -> path of a known dataset, or the table of a dataset of the user's own
    datasets: Mapping[str, Any] = field(default_factory=dict)


def find_config(start: Path) -> UserConfig:
    """Return the declarations of the nearest `bob.toml`, or pyproject.toml with `[tool.bob]`, from `start` upwards."""
    start = start.absolute()  # a relative path has no parents
    for folder in (start, *start.parents):
        bob_toml, project = folder / "bob.toml", folder / "pyproject.toml"
        if bob_toml.is_file():
            return _config(bob_toml, _read(bob_toml))
        if project.is_file():
            tool = _read(project).get("tool")
            if isinstance(tool, dict) and "bob" in tool:
                return _config(project, tool["bob"])
    return UserConfig(start)


def bob_folder(start: Path) -> Path:
    """Return the nearest `.bob` folder from `start` upwards, else `start/.bob`, where it will be made."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / ".bob").is_dir():
            return folder / ".bob"
    return start / ".bob"


def bundled(name: str) -> Path:
    """Return the folder `suites` or `baselines`: beside the package in a clone, inside it in an installed wheel."""
    package = Path(__file__).parent
    clone = package.parent / name
    return clone if (package.parent / "pyproject.toml").is_file() and clone.is_dir() else package / name


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file. Raises UsageError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: {error}; correct this file") from error


def _config(path: Path, table: Any) -> UserConfig:
    """Return the declarations of a file. Raises UsageError that names what is wrong."""
    backbones = _table(path, table, "backbones", "SPEC")
    for name, value in backbones.items():
        spec = value.get("spec") if isinstance(value, dict) else value
        if not isinstance(spec, str) or not spec:
            raise UsageError(f'{path}: backbone {name!r} has to be "SPEC" or {{ spec = "SPEC", size = 224, ... }}')
    datasets = _table(path, table, "datasets", "PATH")
    for name, value in datasets.items():
        if not value or not isinstance(value, (str, dict)):
            raise UsageError(f'{path}: dataset {name!r} has to be "PATH" or {{ kind = "folder", train = "PATH", ... }}')
    return UserConfig(path.parent, str(path), backbones, datasets)


def _table(path: Path, table: Any, name: str, value: str) -> dict[str, Any]:
    """Return a table of a file, {} where it is absent. Raises UsageError where it is no table."""
    entries = table.get(name, {}) if isinstance(table, dict) else None
    if not isinstance(entries, dict):
        raise UsageError(f'{path}: [{name}] has to be a table of name = "{value}"')
    return entries
