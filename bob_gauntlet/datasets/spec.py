"""Descriptions of datasets before they are loaded: rows of the catalog, and declarations of the user."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bob_gauntlet.scores.score import Scale

ROLES = ("train", "val", "test")
"""Roles of a user's own dataset; val may be left out."""

UserDatasetKind = Literal["folder", "csv", "coco"]

_ABOUT_KIND: Mapping[UserDatasetKind, str] = {
    "folder": "a folder of images for each class",
    "csv": "CSV files of paths and labels",
    "coco": "objects, annotated in COCO's format",
}


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A dataset before it is loaded."""

    name: str
    about: str
    # number of images per role or in total, and number of classes, as the publisher states them
    size: str
    classes: str
    licence: str
    citation: str
    how_to_get: str
    scale: Scale = "paper"
    # names of files beside its folder that its reader reads if they are there
    beside: tuple[str, ...] = ()
    # "module:function" that returns the Dataset; at mini scale it takes no argument, else the session's DataLocations;
    # "" where this version has no reader
    loader: str = ""
    # whether its reader can download it, from where its publisher offers it to everybody
    downloadable: bool = False
    # the files that its publisher ships, drawn as a small tree
    layout: str = ""
    # names of other datasets whose files its reader also reads
    needs: tuple[str, ...] = ()
    # whether it consists of those datasets alone and has no files of its own
    combined: bool = False
    # dataset whose train and val splits it shares, so that one trained head serves both; "" for its own
    trains_on: str = ""
    # protocol id -> field -> value: hyper-parameters that the original paper changed for this dataset
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # collection of images that it is made from: settings that share one are not independent
    source: str = ""
    # collection whose images name the clusters of its test images, where that is another one; "" for `source`
    clusters_from: str = ""
    # version of the recipe that renders it, and the packages whose versions may change its pixels
    version: int = 1
    packages: tuple[str, ...] = ()

    @property
    def training_dataset(self) -> str:
        """The dataset that heads for this one are trained on."""
        return self.trains_on or self.name

    @property
    def cluster_source(self) -> str:
        """The collection of images that names the clusters of its test images."""
        return self.clusters_from or self.source


@dataclass(frozen=True, kw_only=True)
class UserDataset:
    """A dataset that the user declares in a table under `[datasets]` of `bob.toml`.

    >>> table = {"kind": "folder", "train": "pets/train", "test": "pets/test", "classes": ["cat", "dog"]}
    >>> dataset = UserDataset.from_table("pets", table, Path("/data"), declared_in="bob.toml")
    >>> dataset.kind, dataset.paths["test"].as_posix(), dataset.classes
    ('folder', '/data/pets/test', ('cat', 'dog'))
    """

    name: str
    kind: UserDatasetKind
    # role -> the folder of class folders, the CSV file or the file in COCO's format
    paths: Mapping[str, Path]
    # role -> the folder of its images, for datasets in COCO's format alone
    image_folders: Mapping[str, Path] = field(default_factory=dict)
    # None where the classes are those that the files name
    classes: tuple[str, ...] | None = None
    multi_label: bool = False
    licence: str = "not stated"
    citation: str = "not stated"
    # the file that declares it
    declared_in: str = "bob.toml"
    # the table as declared, which is part of the key of the dataset's manifest
    table: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_table(cls, name: str, table: Mapping[str, Any], folder: Path, declared_in: str) -> "UserDataset":
        """Return the dataset that a valid `table` declares; its relative paths are relative to `folder`.

        The images of a role in COCO's format lie in the role's own image folder if one is declared, else in the image
        folder for all roles, else beside the role's file of annotations.
        """
        paths = {role: folder / Path(table[role]).expanduser() for role in ROLES if role in table}
        image_folders = {}
        if table["kind"] == "coco":
            for role, path in paths.items():
                declared = table.get(f"{role}_images", table.get("images"))
                image_folders[role] = folder / Path(declared).expanduser() if declared else path.parent
        return cls(
            name=name,
            kind=table["kind"],
            paths=paths,
            image_folders=image_folders,
            classes=tuple(table["classes"]) if "classes" in table else None,
            multi_label=bool(table.get("multi_label", False)),
            licence=table.get("licence", "not stated"),
            citation=table.get("citation", "not stated"),
            declared_in=declared_in,
            table=table,
        )

    @property
    def roots(self) -> dict[str, Path]:
        """The files and folders that are read: role -> path, and "image folder of ROLE" -> path."""
        return {**self.paths, **{f"image folder of {role}": path for role, path in self.image_folders.items()}}

    @property
    def spec(self) -> DatasetSpec:
        """The dataset described as those of the catalog are."""
        return DatasetSpec(
            name=self.name,
            about=f"your own, {_ABOUT_KIND[self.kind]}",
            size="as found",
            classes="as found" if self.classes is None else str(len(self.classes)),
            licence=self.licence,
            citation=self.citation,
            how_to_get=f"declared in {self.declared_in}",
            loader="bob_gauntlet.datasets.user:load",
            source=self.name,
        )
