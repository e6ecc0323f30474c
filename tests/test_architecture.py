"""The house's shape: imports run one way, heavy packages come late, files and functions stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bob_gauntlet"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lower layers first: a module imports its own layer or a lower one.
LAYERS = [
    ("errors", "progress", "bracket"),
    ("scores", "measures", "settings", "config", "devices"),
    ("stats", "metrics", "store", "artifacts", "gate", "backbones.spec", "backbones.zoo"),
    ("datasets.spec", "datasets.objects"),
    ("datasets.mini_catalog", "datasets.paper_catalog"),
    ("datasets.catalog",),
    ("resampling", "pairwise", "provenance"),
    ("baseline", "errata", "run", "backbones", "datasets"),
    ("pools", "published", "stored", "engine", "protocols"),
    ("standing",),
    ("gauntlet", "saving", "report", "analysis"),
    ("scheduler", "live", "options", "session", "terminal", "files", "refreshing", "plugin", "commands"),
    ("data_commands", "cli"),
]
HEAVY = ("torch", "torchvision", "timm", "pandas", "sklearn", "skimage", "scipy", "matplotlib")
HEAVY += ("mmdet", "mmcv", "mmengine", "faster_coco_eval", "pycocotools", "lvis", "cv2")
# modules that may import a heavy package at their top: they are imported late, inside a function, by the light ones
HEAVY_MODULES = (
    "engine",
    "metrics",
    "backbones.backbone",
    "backbones.build",
    "datasets.mini",
    "datasets.paper",
)


def name_of(path: Path) -> str:
    """`backbones.spec` for bob_gauntlet/backbones/spec.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layer_of(module: str) -> int:
    """The layer of the longest prefix that stands in LAYERS."""
    found = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if module == prefix or module.startswith(prefix + ".")
    ]
    assert found, f"{module} has no layer in tests/test_architecture.py"
    return max(found)[1]


def imports(tree: ast.AST, *, top_level: bool) -> set[str]:
    """Dotted names that a module imports: at its top, or anywhere; imports for type checkers do not count."""
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
    """Whether the node is an `if TYPE_CHECKING:` block."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


@pytest.mark.parametrize("path", [m for m in MODULES if name_of(m)], ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """No module imports a layer above its own."""
    own = layer_of(name_of(path))
    for name in imports(ast.parse(path.read_text()), top_level=False):
        inner = name.removeprefix("bob_gauntlet.")
        if (
            name.startswith("bob_gauntlet.")
            and (PACKAGE / inner.split(".")[0]).with_suffix(".py").exists() | (PACKAGE / inner.split(".")[0]).is_dir()
        ):
            assert layer_of(inner) <= own, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_packages_stay_out_of_light_modules(path: Path) -> None:
    """Only the modules of HEAVY_MODULES import torch and its kin at their top."""
    module = name_of(path)
    if any(module == heavy or module.startswith(heavy + ".") for heavy in HEAVY_MODULES):
        return
    found = {n for n in imports(ast.parse(path.read_text()), top_level=True) if n.split(".")[0] in HEAVY}
    assert not found, f"{module} imports {found} at its top"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    """At most 300 lines a module and 40 a function."""
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 40, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_only_the_plugin_knows_pytest_and_only_the_scheduler_knows_xdist() -> None:
    """Protocols, scores and statistics work without pytest."""
    allowed = {"pytest": ("plugin", "options", "session", "scheduler"), "_pytest": (), "xdist": ("scheduler",)}
    for path in MODULES:
        for name in imports(ast.parse(path.read_text()), top_level=False):
            package = name.split(".")[0]
            if package in allowed:
                assert name_of(path).split(".")[0] in allowed[package], f"{name_of(path)} imports {name}"


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
