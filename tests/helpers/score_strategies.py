"""Hypothesis strategies that draw scores with any valid fields."""

from typing import get_type_hints

from hypothesis import strategies as st

from bob_gauntlet.scores.json_types import LARGEST
from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.scores.settings import SETTINGS, TASKS

KEYS = frozenset(get_type_hints(Provenance))
"""Keys of a provenance that have a declared type."""

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
"""Values that JSON can hold."""

scores = st.builds(
    Score,
    setting=st.sampled_from(sorted(SETTINGS)),
    metric=st.sampled_from(sorted(METRICS)),
    task=st.sampled_from(sorted(TASKS)),
    value=st.floats(-LARGEST, LARGEST),
    backbone=st.text(),
    backbone_fingerprint=st.text(),
    protocol_hash=st.text(),
    datasets=st.dictionaries(st.text(), st.text(), max_size=3),
    limit=st.none() | st.integers(2, 10**6),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4).map(tuple),
    # keys of protocols' own details: those that `Provenance` declares have a type
    provenance=st.dictionaries(st.text().filter(lambda key: key not in KEYS), plain_values, max_size=4),
)
"""Scores of the full data or of a part of it, with names in any script."""
