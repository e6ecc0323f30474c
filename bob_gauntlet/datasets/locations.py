"""The folders of datasets: the paths that the user declares, else a folder of their name in a data root."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob_gauntlet.config import UserConfig, bob_folder, find_config
from bob_gauntlet.datasets.catalog import CATALOG, find_dataset
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.spec import ROLES, DatasetSpec, UserDataset
from bob_gauntlet.errors import UsageError, nearest

_TEXTS = ("kind", *ROLES, "licence", "citation")
FIELDS: Mapping[str, Mapping[str, type]] = {
    "folder": dict.fromkeys(_TEXTS, str) | {"classes": list},
    "csv": dict.fromkeys(_TEXTS, str) | {"classes": list, "multi_label": bool},
    "coco": dict.fromkeys((*_TEXTS, "images", *(f"{role}_images" for role in ROLES)), str) | {"classes": list},
}
"""Kind of a user's own dataset -> field that its table may have -> type of the field."""


@dataclass(frozen=True)
class DataLocations:
    """The folders in which a session looks for datasets.

    `root` is the folder with a folder for each dataset. `declared_folders` maps datasets of the catalog to the folders
    that the user declared, and `user_datasets` maps names to the user's own datasets. `download` allows readers to
    download datasets that their publishers offer to everybody. Readers hash the files that they list with `hashes`.

    >>> locations = DataLocations(Path("/data"), {"imagenet-1k": Path("/fast/imagenet")})
    >>> locations.folder_of("imagenet-1k").as_posix(), locations.folder_of("eurosat").as_posix()
    ('/fast/imagenet', '/data/eurosat')
    """

    root: Path
    declared_folders: Mapping[str, Path] = field(default_factory=dict)
    user_datasets: Mapping[str, UserDataset] = field(default_factory=dict)
    download: bool = False
    hashes: FileHashes = field(default_factory=FileHashes, compare=False)

    def folder_of(self, name: str) -> Path:
        """Return the folder in which a dataset of the catalog is looked for; it need not exist."""
        return self.declared_folders.get(name, self.root / name)

    def roots(self, name: str) -> dict[str, Path]:
        """Return the paths at which the files of a dataset are looked for.

        For a user's own dataset the keys are its roles, and in COCO's format "image folder of ROLE". For a dataset of
        the catalog they are its name and those of the datasets that it needs. A dataset that is made from installed
        packages has no paths.
        """
        if name in self.user_datasets:
            return self.user_datasets[name].roots
        spec = find_dataset(name)
        names = spec.needs if spec.combined else (name, *spec.needs)
        return {} if spec.scale == "mini" else {one: self.folder_of(one) for one in names}

    def spec(self, name: str) -> DatasetSpec:
        """Return what is known of a dataset of the catalog or of the user; an unknown name raises UsageError."""
        if name in CATALOG:
            return CATALOG[name]
        if name not in self.user_datasets:
            raise UsageError(f"unknown dataset {name!r}{nearest(name, [*CATALOG, *self.user_datasets])}")
        return self.user_datasets[name].spec


def default_locations() -> DataLocations:
    """Return the locations for a session in the current folder, without command-line options."""
    return find_locations(find_config(Path.cwd()), Path.cwd())


def find_locations(
    config: UserConfig, start: Path, root: Path | None = None, *, download: bool = False
) -> DataLocations:
    """Return the locations for a session that starts in the folder `start`.

    The data root is `root` (`--bob-data`), else $BOB_DATA, both relative to `start`, else `.bob/data`. Relative paths
    in `config` are relative to the declaring file. Raises UsageError with the file, the dataset and the field where a
    declaration is wrong.
    """
    paths = {name: value for name, value in config.datasets.items() if isinstance(value, str)}
    tables = {name: value for name, value in config.datasets.items() if name not in paths}
    for name in paths:
        _check_path(name, config.source)
    for name, table in tables.items():
        _check_table(name, table, config.source)
    given_root = root or (Path(os.environ["BOB_DATA"]) if os.environ.get("BOB_DATA") else None)
    return DataLocations(
        root=start.absolute() / given_root.expanduser() if given_root else bob_folder(start) / "data",
        declared_folders={name: config.folder / Path(path).expanduser() for name, path in paths.items()},
        user_datasets={
            name: UserDataset.from_table(name, table, config.folder, config.source) for name, table in tables.items()
        },
        download=download,
    )


def _check_path(name: str, source: str) -> None:
    """Raise UsageError where the dataset of a declared path is not in the catalog or has no folder."""
    if name not in CATALOG:
        raise UsageError(
            f"{source}: dataset {name!r} is not in the catalog, and one of your own has to be "
            f'{{ kind = "folder", train = "PATH", test = "PATH" }}{nearest(name, CATALOG)}'
        )
    if CATALOG[name].scale == "mini":
        raise UsageError(f"{source}: dataset {name!r} is made from installed packages; remove its line")
    if CATALOG[name].combined:
        parts = " and ".join(f'{one} = "PATH"' for one in CATALOG[name].needs)
        raise UsageError(f"{source}: dataset {name!r} is made of others; declare {parts} instead")


def _check_table(name: str, table: Mapping[str, Any], source: str) -> None:
    """Raise UsageError where the name, the kind or a field of a user's own dataset is wrong."""
    where = f"{source}: dataset {name!r}"
    if name in CATALOG:
        raise UsageError(f'{where} is in the catalog: give its folder, {name} = "PATH", or choose another name')
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{where}: its name may only have letters, digits, '.', '_' and '-'")
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
    """Raise UsageError where a field's value is not of its type, or a list has fewer than `least` different names."""
    if kind is str and not (isinstance(value, str) and value):
        raise UsageError(f'{where} has to be "TEXT"')
    if kind is bool and not isinstance(value, bool):
        raise UsageError(f"{where} has to be true or false")
    if kind is list and not (
        isinstance(value, list)
        and all(isinstance(one, str) and one for one in value)
        and least <= len(value) == len(set(value))
    ):
        count = "one name" if least == 1 else "two names"
        raise UsageError(f'{where} has to be {count} or more, such as ["cat", "dog"], each of them once')
