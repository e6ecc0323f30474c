"""Digests of the code that defines a network: the user's own files, and the versions of installed packages.

The user's own files are all that are neither in the standard library nor in site-packages nor of bob_gauntlet. Beside
the files that define the classes of a network, those count that they import, directly or through each other.
"""

import ast
import hashlib
import inspect
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType
from typing import Any

_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of folders into which packages are installed."""

_PACKAGE = Path(__file__).parents[1]
"""bob_gauntlet itself, whose code is identified by the version of the adapter."""


def defining_code(things: Iterable[Any]) -> dict[str, str]:
    """Return module, class or package -> digest or version, of everything that defines classes, functions or modules.

    What has no file, as in a notebook, is identified by its bytecode.
    """
    code: dict[str, str] = {}
    start: set[Path] = set()
    for thing in things:
        module = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
        path, package = source_file(thing), str(module).partition(".")[0]
        if path is not None and is_users_file(path):
            start.add(path)
        elif installed_version := _package_version(package):
            code[f"package {package}"] = installed_version
        elif package not in sys.stdlib_module_names:
            code[qualified_name(thing)] = _file_digest(path) if path else _bytecode_digest(thing)
    digests: dict[str, list[str]] = {}
    for path in reachable_files(start):
        digests.setdefault(f"file {_dotted_name(path)}", []).append(_file_digest(path))
    return code | {name: " ".join(sorted(values)) for name, values in digests.items()}


def qualified_name(thing: object) -> str:
    """Return `package.module.Class`, or the same of a function."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def source_file(thing: object) -> Path | None:
    """Return the file that defines a class or a function; None for one of a notebook, of `python -c` or in C."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(thing))  # type: ignore[arg-type]
    except (TypeError, OSError, ValueError):
        return None
    return Path(path).resolve() if path is not None and Path(path).is_file() else None


def is_users_file(path: Path) -> bool:
    """Tell whether a file is the user's own: not of Python, not of an installed package, not of bob_gauntlet."""
    resolved = path.resolve()
    if _INSTALLED & set(resolved.parts) or not resolved.is_file():
        return False
    return not any(resolved.is_relative_to(folder) for folder in (_PACKAGE, *_library_folders()))


def reachable_files(start: Iterable[Path]) -> set[Path]:
    """Return the user's own files that `start` imports, directly or through each other, and `start` itself.

    Imports are read from the source, also those inside functions. Nothing is imported for that.
    """
    pending, reached = [path.resolve() for path in start], set[Path]()
    while pending:
        path = pending.pop()
        if path in reached:
            continue
        reached.add(path)
        pending += [imported for imported in imported_files(path) if is_users_file(imported)]
    return reached


def imported_files(path: Path) -> Iterator[Path]:
    """Yield the files of the modules that a Python file imports; nothing for a file that cannot be parsed."""
    if path.suffix != ".py":
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of_module(alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else None
            yield from ([folder / "__init__.py"] if folder and (folder / "__init__.py").is_file() else [])
            module = f"{node.module}." if node.module else ""
            for alias in node.names:
                yield from _files_of_module(f"{module}{alias.name}", folder)


def _files_of_module(name: str, folder: Path | None) -> Iterator[Path]:
    """Yield the files that are run when `name` is imported: the module, and every package that it is in.

    The last part of the name need not be a module. A name that is relative to a folder is looked up there.
    """
    where = None if folder is None else [str(folder)]
    for part in name.split("."):
        spec = _find(part, where)
        if spec is None:
            return
        if spec.origin and spec.has_location:
            yield Path(spec.origin)
        if spec.submodule_search_locations is None:
            return
        where = list(spec.submodule_search_locations)


def _find(name: str, where: list[str] | None) -> ModuleSpec | None:
    """Return the spec of a module in these folders, by default of sys.path; None where there is none."""
    loaded = getattr(sys.modules.get(name), "__spec__", None) if where is None else None
    if isinstance(loaded, ModuleSpec):
        return loaded
    try:
        return PathFinder.find_spec(name, where)
    except (ImportError, ValueError, OSError):
        return None


@cache
def _library_folders() -> tuple[Path, ...]:
    """Return the folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(Path(folder).resolve() for folder in (*folders, *site.getsitepackages(), site.getusersitepackages()))


@cache
def _package_version(package: str) -> str:
    """Return the version of an installed package by the name under which it is imported; "" for no such package."""
    if package in sys.stdlib_module_names:
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        distributions = packages_distributions().get(package, [])
        return " ".join(version(name) for name in sorted(set(distributions)))


def _dotted_name(path: Path) -> str:
    """Return a file's name in its package: `models.vit` for models/vit.py where models/__init__.py exists."""
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _file_digest(path: Path) -> str:
    """Return 16 hex digits over the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _bytecode_digest(thing: Any) -> str:
    """Return 16 hex digits over the bytecode of a function, or of the methods of a class."""
    functions = [thing, *(value for _, value in sorted(getattr(thing, "__dict__", {}).items()))]
    codes = [_bytecode(function.__code__) for function in functions if hasattr(function, "__code__")]
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16]


def _bytecode(code: CodeType) -> str:
    """Return the instructions, names and constants of a function; line numbers and addresses do not enter."""
    constants = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
