"""The user's configuration file, and the folders in which it is searched."""

from pathlib import Path

import pytest

from bob_gauntlet.config import UserConfig, bob_folder, find_config
from bob_gauntlet.errors import UsageError


def write(path: Path, text: str) -> Path:
    """Write a file, create its folders, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_nearest_file_upwards_is_read(tmp_path: Path) -> None:
    """The nearest file upwards is read, and its relative paths start at its folder, not where the search began."""
    write(tmp_path / "bob.toml", '[backbones]\nfar = "random:a"\n')
    near = write(tmp_path / "é x" / "bob.toml", '[backbones]\nnear = "random:a"\n')
    below = near.parent / "deep" / "deeper"
    below.mkdir(parents=True)
    assert find_config(below) == UserConfig(near.parent, str(near), {"near": "random:a"})


def test_datasets_are_declared_beside_backbones(tmp_path: Path) -> None:
    """A path declares a dataset of the catalog, and a table a user's own dataset, in pyproject.toml too."""
    write(tmp_path / "pyproject.toml", '[tool.bob.datasets]\neurosat = "e"\nmine = { kind = "csv" }\n')
    assert find_config(tmp_path).datasets == {"eurosat": "e", "mine": {"kind": "csv"}}
    assert find_config(tmp_path).backbones == {}


def test_a_relative_start_is_searched_upwards_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that starts at `Path(".")`, which has no parents, goes upwards too."""
    write(tmp_path / "bob.toml", '[backbones]\nmine = "random:a"\n')
    (tmp_path / "below").mkdir()
    (tmp_path / ".bob").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert find_config(Path()).backbones == {"mine": "random:a"}
    assert bob_folder(Path()) == tmp_path / ".bob"


def test_bob_toml_comes_before_pyproject(tmp_path: Path) -> None:
    """A bob.toml is preferred to a pyproject.toml in the same folder."""
    write(tmp_path / "pyproject.toml", '[tool.bob.backbones]\na = "random:p"\n')
    assert find_config(tmp_path).backbones == {"a": "random:p"}
    write(tmp_path / "bob.toml", '[backbones]\na = "random:b"\n')
    assert find_config(tmp_path).backbones == {"a": "random:b"}


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.ruff]\n", "tool = 3\n"])
def test_a_pyproject_that_says_nothing_of_bob_is_passed_by(tmp_path: Path, text: str) -> None:
    """A pyproject.toml without a table for bob is ignored, and the search continues above it."""
    write(tmp_path / "bob.toml", '[backbones]\na = "random:b"\n')
    write(tmp_path / "below" / "pyproject.toml", text)
    assert find_config(tmp_path / "below").backbones == {"a": "random:b"}


def test_without_any_file_nothing_is_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file nothing is declared, and relative paths start where the search started."""
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert find_config(tmp_path) == UserConfig(tmp_path)


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    """A byte order mark, which editors on Windows write at the start of a file, is ignored."""
    (tmp_path / "bob.toml").write_bytes(b'\xef\xbb\xbf[backbones]\na = "random:b"\n')
    assert find_config(tmp_path).backbones == {"a": "random:b"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[backbones", "correct this file"),
        ("backbones = 3", "has to be a table"),
        ('backbones = ["random:a"]', "has to be a table"),
        ("[backbones]\nmine = 3", "backbone 'mine' has to be"),
        ("datasets = 3", "has to be a table"),
        ("[datasets]\nmine = 3", "dataset 'mine' has to be"),
        ('[datasets]\nmine = ""', "dataset 'mine' has to be"),
        ("[datasets.mine]", "dataset 'mine' has to be"),
        ('[backbones]\nmine = ""', "backbone 'mine' has to be"),
        ("[backbones.mine]\nsize = 3", "backbone 'mine' has to be"),
        ("[backbones.mine]\nspec = 3", "backbone 'mine' has to be"),
    ],
)
def test_a_file_that_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    """An error in the file is reported in one line that starts with the path of the file."""
    path = write(tmp_path / "bob.toml", text)
    with pytest.raises(UsageError, match=says) as caught:
        find_config(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused with a message that says what to do."""
    (tmp_path / "bob.toml").write_bytes('[backbones]\nü = "random:a"\n'.encode("latin-1"))
    with pytest.raises(UsageError, match="correct this file"):
        find_config(tmp_path)


def test_tool_bob_has_to_be_a_table(tmp_path: Path) -> None:
    """A `tool.bob` that is not a table is refused."""
    write(tmp_path / "pyproject.toml", "[tool]\nbob = 3\n")
    with pytest.raises(UsageError, match="has to be a table"):
        find_config(tmp_path)


def test_the_nearest_bob_folder_or_a_new_one(tmp_path: Path) -> None:
    """The nearest .bob folder upwards is used, and a file of that name does not count."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".bob").mkdir()
    assert bob_folder(below) == tmp_path / ".bob"
    write(tmp_path / "a" / ".bob", "")
    assert bob_folder(below) == tmp_path / ".bob"
    (below / ".bob").mkdir()
    assert bob_folder(below) == below / ".bob"


def test_where_there_is_no_bob_folder_it_is_made_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no .bob folder exists, the path of one at the start of the search is returned."""
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    assert bob_folder(tmp_path) == tmp_path / ".bob"
