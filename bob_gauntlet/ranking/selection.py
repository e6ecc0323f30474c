"""Picking scores by backbone: out of the store, out of a file of an earlier run, out of saved baselines."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bob_gauntlet.errors import BobError, UsageError, nearest
from bob_gauntlet.pools.folder import folder_of, read_scores
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store


def select_backbones(
    store: Store, names: Sequence[str], members: Sequence[str] = ()
) -> tuple[dict[str, list[Score]], list[str]]:
    """Name -> its newest scores of the full data, and those names that are members of a pool and were never measured.

    Only scores of the weights that were measured last under a name: two checkpoints never share a row. UsageError for a
    name that is neither stored nor a member.
    """
    found = _by_name(store)
    for name in names:
        if name in found or name in members:
            continue
        if any(score.backbone == name for score in store):
            raise UsageError(
                f"all scores of {name!r} in {store.folder} are of --bob-limit or --bob-max-steps, which are never "
                "ranked; run without them"
            )
        close = nearest(name, [*found, *members]) or "; `bob list` shows them"
        raise UsageError(f"no scores of {name!r} in {store.folder}, and it is not in the pool{close}")
    own = {name: _newest(found[name]) for name in names if name in found}
    return own, [name for name in names if name not in found]


def select_previous(store: Store, now: Mapping[str, Sequence[Score]]) -> list[Score]:
    """The newest stored scores under the same names, of other weights than those measured now."""
    found = _by_name(store)
    weights = {name: {score.backbone_fingerprint for score in scores} for name, scores in now.items()}
    older = {
        name: [score for score in found.get(name, []) if score.backbone_fingerprint not in mine]
        for name, mine in weights.items()
    }
    return [score for scores in older.values() if scores for score in _newest(scores)]


def find_score_on_other_data(known: Iterable[Score], now: Sequence[Score]) -> Score | None:
    """The newest of the `known` scores that differ from one of `now` in the dataset's fingerprints alone.

    None where the newest that is the same in all but the data is of the same data.
    """
    wanted = {_but_data(score): score for score in now}
    same = [score for score in known if _but_data(score) in wanted]
    newest = max(same, key=lambda score: str(score.provenance.get("started", "")), default=None)
    return None if newest is None or newest.datasets == wanted[_but_data(newest)].datasets else newest


def load_comparison_scores(text: str, own: Path, now: Sequence[str]) -> list[Score]:
    """The scores that `text` names to compare with: a file of --bob-json, or baselines by name.

    Where it holds one backbone under another name, that one is compared with every backbone of `now`. UsageError where
    it cannot be read, or has none of the backbones.
    """
    path = Path(text)
    found = _from_json(path) if path.is_file() else read_scores(folder_of(text, own))
    names = {score.backbone for score in found}
    if len(names) == 1 and not names & set(now):
        return [_renamed(score, name) for name in now for score in found]
    if not names & set(now):
        raise UsageError(f"{text} has no scores of {', '.join(now)}; it has {', '.join(sorted(names)) or 'none'}")
    return [score for score in found if score.backbone in now]


def _from_json(path: Path) -> list[Score]:
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
        return [Score.from_dict(record) for record in records]
    except (OSError, ValueError, TypeError, AttributeError, BobError) as error:
        raise UsageError(f"{path} is no file of scores ({error}); --bob-json=FILE writes one") from error


def _but_data(score: Score) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in score.identity if name != "datasets")


def _renamed(score: Score, name: str) -> Score:
    return Score.from_dict({**score.to_dict(), "backbone": name})


def _by_name(scores: Iterable[Score]) -> dict[str, list[Score]]:
    found: dict[str, list[Score]] = {}
    for score in scores:
        if not score.cut:
            found.setdefault(score.backbone, []).append(score)
    return found


def _newest(scores: Sequence[Score]) -> list[Score]:
    """Of the weights of the last score, the last one of each measure and scale."""
    mine = [score for score in scores if score.backbone_fingerprint == scores[-1].backbone_fingerprint]
    return list({(score.measure, score.scale): score for score in mine}.values())
