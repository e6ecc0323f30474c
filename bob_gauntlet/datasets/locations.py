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
    "coco": dict.fromkeys((*_TEXTS, "images", *(f"{role}_images" for role in ROLES)), str) | {"classes": list},
}
"""Kind of a user's own dataset -> field of its table -> the field's type."""

_ABOUT = {
    "folder": "a folder a class",
    "csv": "CSV files of paths and labels",
    "coco": "objects, annotated in COCO's format",
}


@dataclass(frozen=True)
class DataLocations:
    """The data root, the paths that the user declared by dataset name, and the tables of the user's own datasets.

    `folder` is what relative paths in those tables are relative to, `declared_in` the file that they stand in;
    `download` allows to fetch what its publisher lets anybody fetch.

    >>> locations = DataLocations(Path("/data"), {"imagenet-1k": Path("/fast/imagenet")})
    >>> locations.of("imagenet-1k").as_posix(), locations.of("eurosat").as_posix()
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

        In COCO's format a role has a folder of images, too. Empty for what installed packages make.
        """
        if name in self.own:
            table = self.own[name]
            found = {role: self._own(table[role]) for role in ROLES if role in table}
            return found | (self._image_folders(table, found) if table["kind"] == "coco" else {})
        spec = find(name)
        names = spec.needs if spec.combined else (name, *spec.needs)
        return {} if spec.scale == "mini" else {one: self.of(one) for one in names}

    def _own(self, path: str) -> Path:
        return self.folder / Path(path).expanduser()

    def _image_folders(self, table: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Path]:
        """The folder of each role's images: its own, that of all, or that of its file of annotations."""
        given = {role: table.get(f"{role}_images", table.get("images")) for role in files}
        return {
            f"image folder of {role}": self._own(given[role]) if given[role] else path.parent
            for role, path in files.items()
        }

    def spec(self, name: str) -> DatasetSpec:
        """What is known of a dataset of the catalog or of the user's own; UsageError with the nearest names else."""
        if name in CATALOG:
            return CATALOG[name]
        if name not in self.own:
            raise UsageError(f"unknown dataset {name!r}{nearest(name, [*CATALOG, *self.own])}")
        table = self.own[name]
        return DatasetSpec(
            name=name,
            about=f"your own, {_ABOUT[table['kind']]}",
            size="as found",
            classes=str(len(table["classes"])) if "classes" in table else "as found",
            licence=table.get("licence", "not stated"),
            citation=table.get("citation", "not stated"),
            how_to_get=f"declared in {self.declared_in}",
            loader="bob_gauntlet.datasets.user:load",
            source=name,
        )


def default_locations() -> DataLocations:
    """The places of the calling folder, without options."""
    return find_locations(find_config(Path.cwd()), Path.cwd())


def find_locations(
    config: UserConfig, start: Path, root: Path | None = None, *, download: bool = False
) -> DataLocations:
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
    return DataLocations(
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
    if CATALOG[name].combined:
        parts = " and ".join(f'{one} = "PATH"' for one in CATALOG[name].needs)
        raise UsageError(f"{source}: dataset {name!r} is made of others; declare {parts} instead")


def _check_table(name: str, table: Mapping[str, Any], source: str) -> None:
    where = f"{source}: dataset {name!r}"
    if name in CATALOG:
        raise UsageError(f'{where} is in the catalog: give its folder, {name} = "PATH", or choose another name')
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{where}: its name may have letters, digits, '.', '_' and '-' alone")
    kind = str(table.get("kind"))
    if kind not in FIELDS:
        raise UsageError(f"{where}: kind has to be folder, csv or coco{nearest(kind, FIELDS)}")
    for field_name, value in table.items():
        if field_name not in FIELDS[kind]:
            raise UsageError(f"{where}: unknown field {field_name!r}{nearest(field_name, FIELDS[kind])}")
        _check_value(f"{where}: {field_name}", value, FIELDS[kind][field_name], least=1 if kind == "coco" else 2)
    for role in ("train", "test"):
        if role not in table:
            raise UsageError(f'{where}: no field {role!r}; add {role} = "PATH"')


def _check_value(where: str, value: Any, kind: type, least: int) -> None:
    """UsageError where a field's value is not of its type, or a list has fewer than `least` names."""
    if kind is str and not (isinstance(value, str) and value):
        raise UsageError(f'{where} has to be "TEXT"')
    if kind is bool and not isinstance(value, bool):
        raise UsageError(f"{where} has to be true or false")
    if kind is list and not (
        isinstance(value, list)
        and all(isinstance(one, str) and one for one in value)
        and least <= len(value) == len(set(value))
    ):
        count = "a name" if least == 1 else "two names"
        raise UsageError(f'{where} has to be {count} or more, such as ["cat", "dog"], none of them twice')
