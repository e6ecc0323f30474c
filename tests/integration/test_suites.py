"""The suites and the table of settings agree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.protocols.catalog import PROTOCOLS, find_protocol
from bob_gauntlet.scores.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def collected(*options: str) -> set[str]:
    """Return the node ids of the tests that the suites collect."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "suites/", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return {line for line in run.stdout.splitlines() if "::" in line}


def test_every_setting_of_mini_scale_is_one_test() -> None:
    """Every setting of mini scale that needs no request is one test, and every test is a setting."""
    settings = [parse_node_id(item)[1] for item in collected("--backbone=random:test_resnet")]
    on_request = {s.id for s in SETTINGS.values() if "mini" in s.on_request}
    assert on_request == {"detection-scratch@photo-scenes"}
    assert sorted(settings) == sorted({s.id for s in SETTINGS.values() if "mini" in s.scales} - on_request)


def test_a_setting_on_request_runs_where_it_is_named() -> None:
    """`-k scratch`, --setting and the node id ask for the detector from scratch; `-k detection` does not."""
    name = "detection-scratch@photo-scenes"
    [node_id] = collected("--backbone=random:test_resnet", "-k", "scratch")
    assert collected("--backbone=random:test_resnet", "--setting", name) == {node_id}
    assert parse_node_id(node_id)[1] == name
    named = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", node_id, "--bob-backbone=random:test_resnet"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert node_id in named.stdout.splitlines()
    assert name not in {
        parse_node_id(item)[1] for item in collected("--backbone=random:test_resnet", "-k", "detection")
    }


def test_the_catalog_of_protocols_and_the_table_of_settings_agree() -> None:
    """Every protocol has a setting, and every setting has a protocol under its own id."""
    assert {setting.protocol for setting in SETTINGS.values()} == set(PROTOCOLS)
    assert all(recipe.id == protocol for protocol, recipe in PROTOCOLS.items())
    with pytest.raises(UsageError, match="unknown protocol 'finetuned'; did you mean finetune"):
        find_protocol("finetuned")


@pytest.mark.parametrize("choice", ["linear_probe", "linear-probe", "low_shot_10pct and photos"])
def test_protocols_are_chosen_by_name(choice: str) -> None:
    """`-k` takes a protocol's name with hyphens or with underscores."""
    chosen = {parse_node_id(item)[1] for item in collected("--backbone=random:test_resnet", "-k", choice)}
    assert chosen
    assert all(choice.partition(" ")[0].replace("_", "-") in setting for setting in chosen)


def test_choices_in_the_documents_choose() -> None:
    """Every `-k` expression quoted in the documentation selects some tests, but not all of them."""
    pages = [ROOT / "README.md", ROOT / "baselines/README.md", *(ROOT / "docs").glob("*.md")]
    choices = [each for page in pages for each in re.findall(r'-k "([^"]+)"', page.read_text())]
    every = collected("--backbone=efficientnet_lite0")
    assert len(choices) >= 3
    for choice in choices:
        assert set() < collected("--backbone=efficientnet_lite0", "-k", choice) < every, choice


def test_a_suite_body_is_at_most_three_lines() -> None:
    """Every suite has a docstring, and its tests have at most three statements after theirs."""
    for path in (ROOT / "suites").glob("test_*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                assert len(node.body) <= 4, f"{path.name}: {node.name}"
