"""The language of the code: docstrings, names of variables, examples, and the paths that the documentation names."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bob_gauntlet"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "suites").glob("*.py")])
OTHERS = sorted(path for folder in ("benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))
"""The scripts and tests, whose language is checked too."""
VERBS = frozenset((Path(__file__).parent / "helpers/verbs.txt").read_text().split())
VAGUE = {"found", "own", "them", "mine", "yours", "theirs"}
"""Names that do not say what a variable holds."""


def name_of(path: Path) -> str:
    """`bob_gauntlet.scores.score` for bob_gauntlet/scores/score.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def functions(path: Path) -> list[ast.FunctionDef]:
    """Every function and method of a module."""
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def is_named_like_an_attribute(function: ast.FunctionDef) -> bool:
    """Whether a function is a property or a fixture, whose docstring may be a noun."""
    return any("property" in ast.unparse(d) or "fixture" in ast.unparse(d) for d in function.decorator_list)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_docstrings_of_functions_begin_with_a_verb(path: Path) -> None:
    """In the imperative, from tests/helpers/verbs.txt; add a verb there where a good one is missing."""
    for function in functions(path):
        docstring = ast.get_docstring(function)
        if docstring and not is_named_like_an_attribute(function):
            first = docstring.split()[0].strip("`,.;:()")
            assert first in VERBS, f"{function.name}, line {function.lineno}: {docstring.splitlines()[0]}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_docstring_is_an_indirect_question(path: Path) -> None:
    """The docstring of a module, class or constant names the thing; it begins with no question word."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first = (node.value.value.split() or [""])[0]
            assert first not in {"What", "How", "Where", "Which"}, f"line {node.lineno}: {node.value.value[:80]}"


@pytest.mark.parametrize("path", OTHERS, ids=name_of)
def test_no_docstring_of_scripts_and_tests_is_an_indirect_question(path: Path) -> None:
    """A docstring states something in a whole sentence, or names a thing; it does not begin with What, How or Which."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first = (node.value.value.split() or [""])[0]
            assert first not in {"What", "How", "Which"}, f"line {node.lineno}: {node.value.value[:80]}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_variables_say_what_they_hold(path: Path) -> None:
    """No local variable or parameter has a name of VAGUE."""
    for function in functions(path):
        stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        parameters = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
        assert not (stored | parameters) & VAGUE, f"{function.name}, line {function.lineno}"


@pytest.mark.parametrize("path", [p for p in MODULES if ">>>" in p.read_text()], ids=name_of)
def test_examples_in_docstrings_are_true(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example runs and gives what stands below it."""
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name_of(path)), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted
    assert not results.failed


def test_no_two_classes_have_one_name() -> None:
    """A class name is enough to find its class."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}


def test_test_modules_import_nothing_from_each_other() -> None:
    """Test modules share code in tests/helpers/ only."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                assert not [name for name in names if re.search(r"\.(test_\w+|conftest)(\.|$)", name)], path


def test_paths_in_the_documentation_exist() -> None:
    """Every file and folder that docs/architecture.md and CONTRIBUTING.md name."""
    for page in (ROOT / "docs/architecture.md", ROOT / "CONTRIBUTING.md"):
        named = re.findall(r"`((?:[a-z_.]+/)+(?:[a-z_.]+)?|[a-z_]+\.py)`", page.read_text())
        assert len(named) > 5
        for text in named:
            assert (ROOT / text).exists() or (PACKAGE / text).exists(), f"{page.name}: {text}"
