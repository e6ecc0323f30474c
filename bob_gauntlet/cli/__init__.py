"""The `bob` command."""
