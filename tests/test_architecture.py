"""The structure of the package: imports run one way, heavy packages come late, files and functions are small."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bob_gauntlet"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lower packages first: a module imports its own package or one before it. `api` is what `import bob_gauntlet` offers.
PACKAGES = (
    "errors", "stats", "scores", "runtime", "config", "backbones", "datasets", "metrics", "pools", "ranking", "engine",
    "protocols", "analysis", "gauntlet", "report", "api", "plugin", "cli",
)  # fmt: skip
# Lower parts of `engine` first; parts that are not listed come before the listed ones.
ENGINE = ("attacks", "frozen", "training", "detection")
HEAVY = ("torch", "torchvision", "timm", "pandas", "sklearn", "skimage", "scipy", "matplotlib")
HEAVY += ("mmdet", "mmcv", "mmengine", "faster_coco_eval", "pycocotools", "lvis", "cv2")
# Modules that may import a heavy package at their top. Light modules import them late, inside a function.
HEAVY_MODULES = (
    "engine",
    "metrics",
    "backbones.architecture_guess",
    "backbones.backbone",
    "backbones.build",
    "backbones.checkpoint_fit",
    "backbones.filling",
    "backbones.modules",
    "backbones.probing",
    "backbones.traits",
    "datasets.mini",
    "datasets.paper",
)


def name_of(path: Path) -> str:
    """Return a module's name inside the package: `backbones.spec` for bob_gauntlet/backbones/spec.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def place_of(module: str) -> tuple[int, int]:
    """Return the place of a module's package in PACKAGES, and the place of its part of `engine` in ENGINE."""
    package, *inner = module.split(".")
    assert package in PACKAGES, f"{module} has no place in PACKAGES of tests/test_architecture.py"
    part = inner[0] if package == "engine" and inner else ""
    return PACKAGES.index(package), ENGINE.index(part) if part in ENGINE else -1


def imports(tree: ast.AST, *, top_level: bool) -> set[str]:
    """Return the dotted names that a module imports, at its top or anywhere; imports for type checkers do not count."""
    nodes = list(tree.body) if top_level else list(ast.walk(tree))  # type: ignore[attr-defined]
    skipped = {id(n) for node in ast.walk(tree) if is_type_checking(node) for n in ast.walk(node)}
    names: set[str] = set()
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_type_checking(node: ast.AST) -> bool:
    """Return whether the node is an `if TYPE_CHECKING:` block."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def inner_imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports: `scores.score` for bob_gauntlet.scores.score."""
    known = {name_of(module) for module in MODULES}
    names = {n.removeprefix("bob_gauntlet.") for n in imports(ast.parse(path.read_text()), top_level=False)}
    prefixes = {name: [name, name.rpartition(".")[0]] for name in names}
    return {next(p for p in prefixes[name] if p in known) for name in names if set(prefixes[name]) & (known - {""})}


@pytest.mark.parametrize("path", [m for m in MODULES if name_of(m)], ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """A module imports no package after its own and, inside `engine`, no part after its own."""
    module = name_of(path)
    for name in inner_imports(path):
        assert place_of(name) <= place_of(module), (
            f"{module} imports {name}, which comes after it in tests/test_architecture.py"
        )


def test_no_module_imports_itself_through_others() -> None:
    """There is no circle of imports."""
    graph = {name_of(path): inner_imports(path) - {name_of(path)} for path in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_packages_stay_out_of_light_modules(path: Path) -> None:
    """Only the modules of HEAVY_MODULES import a package of HEAVY at their top."""
    module = name_of(path)
    if any(module == heavy or module.startswith(heavy + ".") for heavy in HEAVY_MODULES):
        return
    heavy_imports = {n for n in imports(ast.parse(path.read_text()), top_level=True) if n.split(".")[0] in HEAVY}
    assert not heavy_imports, f"{module} imports {heavy_imports} at its top"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    """A module has at most 300 lines, and a function at most 40."""
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 40, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_only_the_plugin_knows_pytest_and_only_the_scheduler_knows_xdist() -> None:
    """Only the plugin imports pytest, and only its scheduler imports xdist."""
    allowed = {"pytest": "plugin", "_pytest": "none", "xdist": "plugin.xdist_scheduler"}
    for path in MODULES:
        for name in imports(ast.parse(path.read_text()), top_level=False):
            package = name.split(".")[0]
            if package in allowed:
                assert f"{name_of(path)}.".startswith(f"{allowed[package]}."), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize(
    "command",
    [["-m", "pytest", "--collect-only", "-q", "suites/"], ["-m", "bob_gauntlet.cli", "--help"]],
    ids=["collect-only", "bob --help"],
)
def test_light_commands_import_nothing_heavy(command: list[str]) -> None:
    """Collecting the suites and asking for help import no torch, timm or pandas."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, cwd=ROOT, check=True
    )
    modules = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines() if "|" in line}
    assert not modules & {"torch", "timm", "pandas", "sklearn", "skimage"}
