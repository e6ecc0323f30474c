"""Where datasets are looked for: what the user declares, else a folder of the dataset's name under one data root."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob_gauntlet.config import UserConfig, bob_folder, find_config
from bob_gauntlet.datasets.catalog import CATALOG, find
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import UsageError, nearest

ROLES = ("train", "val", "test")
"""What a user may declare paths of: val may be left out."""

_TEXTS = ("kind", *ROLES, "licence", "citation")
FIELDS: Mapping[str, Mapping[str, type]] = {
    "folder": dict.fromkeys(_TEXTS, str) | {"classes": list},
    "csv": dict.fromkeys(_TEXTS, str) | {"classes": list, "multi_label": bool},
}
"""Kind of a user's own dataset -> field of its table -> the field's type."""


@dataclass(frozen=True)
class Places:
    """The data root, the paths that the user declared by dataset name, and the tables of the user's own datasets.

    `folder` is what relative paths in those tables are relative to, `declared_in` the file that they stand in;
    `download` allows to fetch what its publisher lets anybody fetch.

    >>> places = Places(Path("/data"), {"imagenet-1k": Path("/fast/imagenet")})
    >>> places.of("imagenet-1k").as_posix(), places.of("eurosat").as_posix()
    ('/fast/imagenet', '/data/eurosat')
    """

    root: Path
    declared: Mapping[str, Path] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: Path = Path()
    declared_in: str = "bob.toml"
    download: bool = False

    def of(self, name: str) -> Path:
        """The folder in which a dataset is looked for; it need not exist."""
        return self.declared.get(name, self.root / name)

    def roots(self, name: str) -> dict[str, Path]:
        """What is looked at for a dataset: role -> path for one of the user's own, else its name and those it needs.

        Empty for what installed packages make.
        """
        if name in self.own:
            table = self.own[name]
            return {role: self.folder / Path(table[role]).expanduser() for role in ROLES if role in table}
        spec = find(name)
        return {} if spec.scale == "mini" else {one: self.of(one) for one in (name, *spec.needs)}

    def spec(self, name: str) -> DatasetSpec:
        """What is known of a dataset of the catalog or of the user's own; UsageError with the nearest names else."""
        if name in CATALOG:
            return CATALOG[name]
        if name not in self.own:
            raise UsageError(f"unknown dataset {name!r}{nearest(name, [*CATALOG, *self.own])}")
        table = self.own[name]
        return DatasetSpec(
            name=name,
            about=f"your own, {'a folder a class' if table['kind'] == 'folder' else 'CSV files of paths and labels'}",
            size="as found",
            classes=str(len(table["classes"])) if "classes" in table else "as found",
            licence=table.get("licence", "not stated"),
            citation=table.get("citation", "not stated"),
            how_to_get=f"declared in {self.declared_in}",
            loader="bob_gauntlet.datasets.user:load",
            source=name,
        )


def here() -> Places:
    """The places of the calling folder, without options."""
    return find_places(find_config(Path.cwd()), Path.cwd())


def find_places(config: UserConfig, start: Path, root: Path | None = None, *, download: bool = False) -> Places:
    """The places of a session that starts in `start`: `root` (`--bob-data`), else $BOB_DATA, else `.bob/data`.

    Relative paths are relative to the declaring file, or to `start`. UsageError names the file, the dataset and the
    field that is wrong in a declaration.
    """
    paths = {name: value for name, value in config.datasets.items() if isinstance(value, str)}
    own = {name: value for name, value in config.datasets.items() if name not in paths}
    for name in paths:
        _check_path(name, config.source)
    for name, table in own.items():
        _check_table(name, table, config.source)
    given = root or (Path(os.environ["BOB_DATA"]) if os.environ.get("BOB_DATA") else None)
    return Places(
        root=start.absolute() / given.expanduser() if given else bob_folder(start) / "data",
        declared={name: config.folder / Path(path).expanduser() for name, path in paths.items()},
        own=own,
        folder=config.folder,
        declared_in=config.source,
        download=download,
    )


def _check_path(name: str, source: str) -> None:
    if name not in CATALOG:
        raise UsageError(
            f"{source}: dataset {name!r} is not in the catalog, and one of your own has to be "
            f'{{ kind = "folder", train = "PATH", test = "PATH" }}{nearest(name, CATALOG)}'
        )
    if CATALOG[name].scale == "mini":
        raise UsageError(f"{source}: dataset {name!r} is made from installed packages; take its line out")


def _check_table(name: str, table: Mapping[str, Any], source: str) -> None:
    where = f"{source}: dataset {name!r}"
    if name in CATALOG:
        raise UsageError(f'{where} is in the catalog: give its folder, {name} = "PATH", or choose another name')
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{where}: its name may have letters, digits, '.', '_' and '-' alone")
    kind = str(table.get("kind"))
    if kind not in FIELDS:
        raise UsageError(f"{where}: kind has to be folder or csv{nearest(kind, FIELDS)}")
    for field_name, value in table.items():
        if field_name not in FIELDS[kind]:
            raise UsageError(f"{where}: unknown field {field_name!r}{nearest(field_name, FIELDS[kind])}")
        _check_value(f"{where}: {field_name}", value, FIELDS[kind][field_name])
    for role in ("train", "test"):
        if role not in table:
            raise UsageError(f'{where}: no field {role!r}; add {role} = "PATH"')


def _check_value(where: str, value: Any, kind: type) -> None:
    if kind is str and not (isinstance(value, str) and value):
        raise UsageError(f'{where} has to be "TEXT"')
    if kind is bool and not isinstance(value, bool):
        raise UsageError(f"{where} has to be true or false")
    if kind is list and not (
        isinstance(value, list)
        and all(isinstance(one, str) and one for one in value)
        and 2 <= len(value) == len(set(value))
    ):
        raise UsageError(f'{where} has to be two names or more, such as ["cat", "dog"], none of them twice')
