"""Run the `bob` command by `python -m bob_gauntlet.cli`."""

from bob_gauntlet.cli.main import main

main()
