"""Node ids of tests, and how they are parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.plugin.node_ids import item_id, parse_item_id, parse_node_id

backbones = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
words = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(backbones, words, words)
def test_parsing_is_the_inverse(backbone: str, protocol: str, dataset: str) -> None:
    """Any name can be read back, and the id is printable ASCII without brackets and spaces, as pytest prints it."""
    setting = f"{protocol}@{dataset}"
    text = item_id(backbone, setting)
    assert parse_item_id(text) == (backbone, setting)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(" []")
    assert parse_node_id(f"suites/test_x.py::test_y[{text}]") == (backbone, setting)


@pytest.mark.parametrize("node_id", ["tests/test_x.py::test_y", "tests/test_x.py::test_y[3]", "test_x.py::test_y[a@b]"])
def test_other_tests_measure_no_setting(node_id: str) -> None:
    """A test whose id names no setting has neither a backbone nor a setting."""
    assert parse_node_id(node_id) == ("", "")
