"""Selection of scores by backbone: from the store, from a file of an earlier run, from saved baselines."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bob_gauntlet.errors import BobError, UsageError, nearest
from bob_gauntlet.pools.folder import find_folder, read_scores
from bob_gauntlet.scores.json_types import load_json
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store


def select_backbones(
    store: Store, names: Sequence[str], members: Sequence[str] = ()
) -> tuple[dict[str, list[Score]], list[str]]:
    """Return name -> its newest stored scores, and the names that were never measured but are members of a pool.

    Only scores of the full data count, and only those of the weights that were measured last under a name: two
    checkpoints never share a row. Raises UsageError for a name that is neither stored nor a member.
    """
    stored = _by_name(store)
    for name in names:
        if name in stored or name in members:
            continue
        if any(score.backbone == name for score in store):
            raise UsageError(
                f"all scores of {name!r} in {store.folder} were measured with --bob-limit or --bob-max-steps and are "
                "never ranked; run without these options"
            )
        hint = nearest(name, [*stored, *members]) or "; `bob list` shows all stored scores"
        raise UsageError(f"no scores of {name!r} in {store.folder}, and it is not in the pool{hint}")
    measured = {name: _newest(stored[name]) for name in names if name in stored}
    return measured, [name for name in names if name not in stored]


def select_previous(store: Store, now: Mapping[str, Sequence[Score]]) -> list[Score]:
    """Return the newest stored scores under the same names, but of other weights than those measured now."""
    stored = _by_name(store)
    older = []
    for name, scores in now.items():
        fingerprints = {score.backbone_fingerprint for score in scores}
        other = [score for score in stored.get(name, []) if score.backbone_fingerprint not in fingerprints]
        older += _newest(other)
    return older


def find_score_on_other_data(stored: Iterable[Score], now: Sequence[Score]) -> Score | None:
    """Return the newest stored score that differs from one of `now` in the dataset's fingerprints alone.

    None where the newest score that agrees in everything but the data agrees in the data, too.
    """
    now_by_key = {_identity_without_data(score): score for score in now}
    same = [score for score in stored if _identity_without_data(score) in now_by_key]
    newest = max(same, key=lambda score: str(score.provenance.get("started", "")), default=None)
    if newest is None or newest.datasets == now_by_key[_identity_without_data(newest)].datasets:
        return None
    return newest


def load_comparison_scores(text: str, saved: Path, now: Sequence[str]) -> list[Score]:
    """Return the scores to compare the backbones `now` with: `text` names a file of --bob-json, or baselines.

    `saved` is the folder of the user's baselines. Where the scores are of one backbone under another name, it is
    compared with every backbone of `now`. Raises UsageError where the scores cannot be read, or where there are none of
    these backbones.
    """
    path = Path(text)
    scores = _read_json(path) if path.is_file() else read_scores(find_folder(text, saved))
    names = {score.backbone for score in scores}
    if len(names) == 1 and not names & set(now):
        return [_renamed(score, name) for name in now for score in scores]
    if not names & set(now):
        raise UsageError(f"{text} has no scores of {', '.join(now)}; it has {', '.join(sorted(names)) or 'none'}")
    return [score for score in scores if score.backbone in now]


def _read_json(path: Path) -> list[Score]:
    try:
        return [Score.from_dict(record) for record in load_json(path.read_bytes())]
    except (OSError, ValueError, TypeError, BobError) as error:
        raise UsageError(f"{path} is not a file of scores ({error}); --bob-json=FILE writes one") from error


def _identity_without_data(score: Score) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in score.identity if name != "datasets")


def _renamed(score: Score, name: str) -> Score:
    return Score.from_dict({**score.to_dict(), "backbone": name})


def _by_name(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Return backbone -> its scores of the full data."""
    scores_by_name: dict[str, list[Score]] = {}
    for score in scores:
        if not score.cut:
            scores_by_name.setdefault(score.backbone, []).append(score)
    return scores_by_name


def _newest(scores: Sequence[Score]) -> list[Score]:
    """Return the last score of each measure and scale, of those with the same weights as the last score."""
    same_weights = [score for score in scores if score.backbone_fingerprint == scores[-1].backbone_fingerprint]
    return list({(score.measure, score.scale): score for score in same_weights}.values())
