"""Suites and the table of settings say the same."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from bob_gauntlet.scores.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def collected(*options: str) -> set[str]:
    """The bracket ids of the suites' items, without the backbone."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "suites/", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return {line for line in run.stdout.splitlines() if "::" in line}


def test_every_running_setting_has_one_test_and_every_test_a_setting() -> None:
    """At mini scale: one item a setting."""
    items = collected("--backbone=random:test_resnet")
    expected = [s for s in SETTINGS.values() if "mini" in s.scales]
    assert len(items) == len(expected)
    for setting in expected:
        function = f"::test_{setting.protocol.replace('-', '_')}["
        assert any(function in item and item.endswith(f"@{setting.dataset}]") for item in items), setting.id


def test_choices_in_the_documents_choose() -> None:
    """pytest takes every quoted `-k` as printed, and it leaves something, but not everything."""
    pages = [ROOT / "README.md", ROOT / "baselines/README.md", *(ROOT / "docs").glob("*.md")]
    choices = [each for page in pages for each in re.findall(r'-k "([^"]+)"', page.read_text())]
    every = collected("--backbone=efficientnet_lite0")
    assert len(choices) >= 3
    for choice in choices:
        assert set() < collected("--backbone=efficientnet_lite0", "-k", choice) < every, choice


def test_a_suite_body_is_at_most_three_lines() -> None:
    """A suite reads as a page."""
    for path in (ROOT / "suites").glob("test_*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                assert len(node.body) <= 4, f"{path.name}: {node.name}"
