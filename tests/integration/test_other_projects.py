"""Projects that have bob-gauntlet in their environment and run tests of their own."""

import subprocess
import sys

import pytest

CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--dataset", default="theirs")
    parser.addoption("--scale", type=int, default=3)
    parser.addoption("--backbone", action="store_true")
"""
TEST = """
import pytest

def test_options_are_those_of_this_project(request):
    assert request.config.getoption("--dataset") == "theirs"
    assert request.config.getoption("--scale") == 5
    assert request.config.getoption("--backbone") is True

@pytest.fixture
def gauntlet():
    return "of this project"

def test_fixtures_are_those_of_this_project(gauntlet):
    assert gauntlet == "of this project"
"""
WORLDS = {"no xdist": ["-p", "no:xdist"], "-n0": ["-n0"], "-n2": ["-n2"]}


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project that declares options of the same names as the suites do."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_project=TEST)
    return pytester


@pytest.mark.parametrize("world", WORLDS)
def test_a_project_keeps_its_own_options(project: pytest.Pytester, world: str) -> None:
    """A project's tests run with its own options of these names, and the plugin prints and writes nothing."""
    result = project.runpytest_subprocess("--scale=5", "--backbone", *WORLDS[world])
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("bob-gauntlet*")
    assert not (project.path / ".bob").exists()


def test_the_plugin_imports_next_to_nothing(project: pytest.Pytester) -> None:
    """In other projects the plugin imports neither NumPy nor the modules that run a session, and so starts fast."""
    command = [sys.executable, "-X", "importtime", "-m", "pytest", "-q", "--scale=5", "--backbone", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    modules = {name for name in imported if name.startswith("bob_gauntlet.")} - {"bob_gauntlet.plugin"}
    assert modules == {
        f"bob_gauntlet.{name}"
        for name in ("errors", "plugin.collected", "plugin.hooks", "plugin.node_ids", "plugin.options", "plugin.roles")
    }
    assert not imported & {"numpy", "torch", "pandas", "click", "filelock"}


def test_an_unknown_short_name_is_pytests_own_error(project: pytest.Pytester) -> None:
    """Where neither the suites nor a project declares --dataset, pytest reports it as unrecognized."""
    (project.path / "conftest.py").unlink()
    result = project.runpytest_subprocess("--dataset=photos")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --dataset=photos" in result.stderr.str()


def test_the_suites_say_so_where_a_short_name_is_taken(project: pytest.Pytester) -> None:
    """If another plugin declares --scale, the suites end with exit code 4 and a message that names the option."""
    project.makepyfile(
        taken="""
        def pytest_addoption(parser):
            parser.addoption("--scale")
        """
    )
    folder = project.mkdir("suites")
    (folder / "conftest.py").write_text(
        "from bob_gauntlet.plugin.options import add_short_names\n"
        "def pytest_addoption(parser): add_short_names(parser)\n"
    )
    (project.path / "conftest.py").unlink()
    project.syspathinsert()
    result = project.runpytest_subprocess("-p", "taken", "suites")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--scale of bob-gauntlet's suites is also declared by another plugin" in result.stderr.str()
