"""Reading and writing of provenance.json in a baseline folder: how each score was measured.

The file maps backbone -> setting -> the facts that all metrics of the setting share, and the remaining facts of each
metric. A fact of more than 100 characters that occurs several times (a command, versions, a pretraining recipe) is
written once, under `$repeated` by its digest; `{"$": DIGEST}` stands in its place.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from bob_gauntlet.runtime.artifacts import digest, write_atomically
from bob_gauntlet.scores.json_types import load_json, misfit
from bob_gauntlet.scores.score import Score

ProvenanceTable = Mapping[str, Mapping[str, Any]]
"""Backbone -> setting -> {"shared": {...}, "metrics": {metric: {...}}}."""


class _SettingFacts(TypedDict):
    """The provenance of one setting of one backbone."""

    shared: dict[str, Any]
    metrics: dict[str, dict[str, Any]]


_Table = dict[str, dict[str, _SettingFacts]]

LONG = 100
"""A repeated fact with more characters than this is written once."""

_REPEATED = "$repeated"

log = logging.getLogger(__name__)


def write(folder: Path, scores: Iterable[Score], excluded: Collection[str]) -> None:
    """Write the provenance of scores without the fields `excluded`, which other files hold. Raises OSError."""
    table = _table_of(scores, excluded)
    counts: Counter[str] = Counter()
    _map_facts(table, lambda fact: counts.update([_to_json(fact)]))
    repeated: dict[str, Any] = {}

    def shorten(fact: Any) -> Any:
        text = _to_json(fact)
        if len(text) <= LONG or counts[text] < 2:
            return fact
        name = digest({"value": fact})[:12]
        repeated[name] = fact
        return {"$": name}

    shortened = _map_facts(table, shorten)
    content = {_REPEATED: repeated, **shortened} if repeated else shortened
    write_atomically(folder / "provenance.json", _layout(content).encode())


def read(folder: Path) -> ProvenanceTable:
    """Return what `write` wrote; {}, with a warning, where the file cannot be read."""
    path = folder / "provenance.json"
    try:
        content: dict[str, Any] = load_json(path.read_bytes())
        repeated = content.pop(_REPEATED, {}) if isinstance(content, dict) else {}
        if problem := misfit(content, _Table) or misfit(repeated, dict[str, Any]):
            raise ValueError(problem)

        def restore(fact: Any) -> Any:
            return repeated[str(fact["$"])] if isinstance(fact, dict) and set(fact) == {"$"} else fact

        return _map_facts(content, restore)
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s cannot be read (%s): scores come without their provenance", path, error)
        return {}


def _table_of(scores: Iterable[Score], excluded: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the provenance of scores, the facts that all metrics of a setting share taken out of each metric."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for score in scores:
        facts = {key: value for key, value in score.provenance.items() if key not in excluded}
        if facts:
            table.setdefault(score.backbone, {}).setdefault(score.setting, {})[score.metric] = facts
    for settings in table.values():
        for setting, metrics in settings.items():
            first = next(iter(metrics.values()))
            shared = {k: v for k, v in first.items() if all(m.get(k, ...) == v for m in metrics.values())}
            rest = {name: {k: v for k, v in m.items() if k not in shared} for name, m in metrics.items()}
            settings[setting] = {"shared": shared, "metrics": rest}
    return table


def _map_facts(table: ProvenanceTable, change: Callable[[Any], Any]) -> dict[str, dict[str, Any]]:
    """Return the table with `change` applied to every fact."""

    def change_all(facts: Mapping[str, Any]) -> dict[str, Any]:
        return {name: change(value) for name, value in facts.items()}

    def change_setting(setting: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "shared": change_all(setting["shared"]),
            "metrics": {metric: change_all(rest) for metric, rest in setting["metrics"].items()},
        }

    return {backbone: {name: change_setting(s) for name, s in settings.items()} for backbone, settings in table.items()}


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _layout(content: ProvenanceTable) -> str:
    """Return the content as JSON with one line per setting, so that a diff is readable."""

    def block(settings: Mapping[str, Any]) -> str:
        return ",\n".join(f"  {_to_json(setting)}: {_to_json(settings[setting])}" for setting in sorted(settings))

    parts = [f" {_to_json(backbone)}: {{\n{block(content[backbone])}\n }}" for backbone in sorted(content)]
    return "{\n" + ",\n".join(parts) + "\n}\n" if parts else "{}\n"
