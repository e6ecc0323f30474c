"""provenance.json of a baseline folder: how each score was got, every long value once.

Backbone -> setting -> what all metrics of the setting share, and the rest under each metric. A value of more than
100 characters that stands in several places (a command, versions, a pretraining recipe) is written once under
`$repeated`, by digest, and `{"$": DIGEST}` stands for it.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from bob_gauntlet.runtime.artifacts import digest, write_atomically
from bob_gauntlet.scores.score import Score

Origins = Mapping[str, Mapping[str, Any]]
"""Backbone -> setting -> {"shared": {...}, "metrics": {metric: {...}}}."""

LONG = 100
"""Characters beyond which a value is written once."""

_REPEATED = "$repeated"

log = logging.getLogger(__name__)


def write(folder: Path, scores: Iterable[Score], apart: Collection[str]) -> None:
    """Write the provenance of scores; the fields `apart` stand elsewhere. Raises OSError."""
    origins = _origins(scores, apart)
    seen: Counter[str] = Counter()
    _replaced(origins, lambda value: seen.update([_text(value)]))
    once: dict[str, Any] = {}

    def named(value: Any) -> Any:
        if len(text := _text(value)) <= LONG or seen[text] < 2:
            return value
        name = digest({"value": value})[:12]
        once[name] = value
        return {"$": name}

    short = _replaced(origins, named)
    whole = {_REPEATED: once, **short} if once else short
    write_atomically(folder / "provenance.json", _a_line_a_setting(whole).encode())


def read(folder: Path) -> Origins:
    """What `write` wrote; nothing, with a warning, where it cannot be read."""
    path = folder / "provenance.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        once = found.pop(_REPEATED, {})

        def value_of(value: Any) -> Any:
            return once[value["$"]] if isinstance(value, dict) and set(value) == {"$"} else value

        return _replaced(found, value_of)
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s cannot be read (%s): scores come without their provenance", path, error)
        return {}


def _origins(scores: Iterable[Score], apart: Collection[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for score in scores:
        own = {key: value for key, value in score.provenance.items() if key not in apart}
        if own:
            found.setdefault(score.backbone, {}).setdefault(score.setting, {})[score.metric] = own
    for settings in found.values():
        for setting, metrics in settings.items():
            first = next(iter(metrics.values()))
            shared = {k: v for k, v in first.items() if all(m.get(k, ...) == v for m in metrics.values())}
            rest = {name: {k: v for k, v in m.items() if k not in shared} for name, m in metrics.items()}
            settings[setting] = {"shared": shared, "metrics": rest}
    return found


def _replaced(origins: Origins, change: Callable[[Any], Any]) -> dict[str, dict[str, Any]]:
    """The same with every fact changed."""

    def facts(found: Mapping[str, Any]) -> dict[str, Any]:
        return {name: change(value) for name, value in found.items()}

    def setting(found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "shared": facts(found["shared"]),
            "metrics": {metric: facts(rest) for metric, rest in found["metrics"].items()},
        }

    return {backbone: {name: setting(s) for name, s in settings.items()} for backbone, settings in origins.items()}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _a_line_a_setting(origins: Origins) -> str:
    """JSON that a diff can be read of."""

    def block(settings: Mapping[str, Any]) -> str:
        return ",\n".join(f"  {_text(setting)}: {_text(settings[setting])}" for setting in sorted(settings))

    parts = [f" {_text(backbone)}: {{\n{block(origins[backbone])}\n }}" for backbone in sorted(origins)]
    return "{\n" + ",\n".join(parts) + "\n}\n" if parts else "{}\n"
