"""Running the `bob` command in the process of a test."""

from click.testing import CliRunner, Result

from bob_gauntlet.cli.main import main


def run_bob(*arguments: str) -> Result:
    """Run `bob` with these arguments and return its output and exit code."""
    return CliRunner().invoke(main, arguments)
