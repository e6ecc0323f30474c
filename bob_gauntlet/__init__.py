"""Measure and rank pretrained vision backbones: `pytest suites/ --backbone=mymodel`, or from Python.

    import bob_gauntlet as bob

    bob.evaluate(model, ["linear-probe@digits", "retrieval@*"], name="mymodel")
    bob.scores()
    bob.ranking("mini", ["mymodel"])
    bob.compare("mymodel", "efficientnet_lite0")

Importing the package takes milliseconds: torch and pandas are imported when a function of the API is called.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bob_gauntlet.api import compare, evaluate, ranking, scores

__all__ = ["__version__", "compare", "evaluate", "ranking", "scores"]

__version__ = "0.1.0"


class CallablePackage(ModuleType):
    """A package in this one whose name is also a function of the API: `bob.scores()` calls `api.scores`.

    Python sets a package as an attribute of the package around it, so a function of the same name would be replaced as
    soon as the package is imported.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function of the API that has this package's name."""
        return getattr(import_module("bob_gauntlet.api"), self.__name__.rpartition(".")[2])(*arguments, **options)


def __getattr__(name: str) -> Any:
    """Import the API at its first use."""
    if name in ("ranking", "scores"):
        return import_module(f"bob_gauntlet.{name}")
    if name in ("compare", "evaluate"):
        return getattr(import_module("bob_gauntlet.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the API with those that are imported already."""
    return sorted({*globals(), *__all__})
