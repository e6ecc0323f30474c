"""The code that defines a network: the user's own files that it imports, and the versions of installed packages."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.source_code import defining_code, is_users_file, qualified_name, reachable_files
from bob_gauntlet.config import UserConfig

FILES = {
    "factory_mine.py": "from netlib.net import Net\ndef build(): return Net()\n",
    "netlib/__init__.py": "",
    "netlib/net.py": (
        "import torch\nfrom torch import nn\nfrom . import blocks\nfrom .ops import pool\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.body = blocks.Body()\n"
        "    def forward(self, images): return pool(self.body(images))\n"
    ),
    "netlib/blocks.py": (
        "from torch import nn\n"
        "class Body(nn.Conv2d):\n"
        "    def __init__(self): super().__init__(3, 4, 3)\n"
        "    def forward(self, images):\n        from helpers_mine import scaled\n"
        "        return scaled(super().forward(images))\n"
    ),
    "netlib/ops.py": "import netlib.deeper.more\ndef pool(maps): return maps.mean((2, 3))\n",
    "netlib/deeper/more.py": "FACTOR = 1\n",
    "helpers_mine.py": "def scaled(maps): return 2 * maps\n",
    "unrelated_mine.py": "def other(): return 1\n",
}
"""A factory whose network is spread over files, imported in every way; the last file is not imported."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with FILES, in which the test runs; its modules are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    forget()


def forget() -> None:
    """Forget the modules of FILES, as a new process would."""
    for name in list(sys.modules):
        if name.partition(".")[0] in {"netlib", "factory_mine", "helpers_mine", "unrelated_mine"}:
            del sys.modules[name]


def fingerprint(folder: Path) -> str:
    """Return the fingerprint of the factory in a new process."""
    forget()
    return load(resolve("factory_mine:build", UserConfig(folder))).identity.fingerprint


@pytest.mark.parametrize("name", list(FILES))
def test_a_changed_file_is_another_backbone_where_the_network_uses_it(project: Path, name: str) -> None:
    """Each file that the factory imports counts, however it is imported; a file beside them does not."""
    before = fingerprint(project)
    assert fingerprint(project) == before
    (project / name).write_text(f"{FILES[name]}\nCHANGED = True\n")
    assert (fingerprint(project) == before) == (name == "unrelated_mine.py")


def test_only_the_users_files_are_followed(project: Path) -> None:
    """Nothing of torch, of the standard library or of bob_gauntlet is among them, and nothing is imported for that."""
    (project / "netlib/ops.py").write_text("import json, torch, bob_gauntlet.api\nraise RuntimeError('imported')\n")
    names = {path.relative_to(project.resolve()).as_posix() for path in reachable_files([project / "factory_mine.py"])}
    assert names == set(FILES) - {"unrelated_mine.py", "netlib/deeper/more.py"}
    assert "netlib" not in sys.modules


def test_files_that_import_each_other_or_nothing_end(project: Path) -> None:
    """A circle, an import that does not exist, a relative import beyond the folders and a broken file are harmless."""
    (project / "netlib/ops.py").write_text(
        "import factory_mine, absent_mine\nfrom ....... import x\nfrom .absent import y"
    )
    (project / "helpers_mine.py").write_text("def broken(:")
    assert len(reachable_files([project / "factory_mine.py"])) == 6


def test_a_class_of_a_package_has_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a package that owns a class is another backbone; builtins and the standard library are not."""
    code = defining_code(nn.Conv2d.__mro__)
    assert code == {"package torch": version("torch")}
    assert not is_users_file(Path(nn.__file__))
    assert is_users_file(Path(__file__))


def test_a_class_without_a_file_has_its_bytecode() -> None:
    """Two classes of a notebook are told apart by what their methods do."""
    digests = []
    for factor in (2, 2, 3):
        names: dict[str, Any] = {"nn": nn, "__name__": "notebook"}
        exec(f"class Net(nn.Module):\n    def forward(self, images):\n        return images * {factor}\n", names)
        digests.append(defining_code([names["Net"]])[qualified_name(names["Net"])])
    assert digests[0] == digests[1] != digests[2]
