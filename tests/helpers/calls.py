"""Stand-ins for functions that a test expects nobody to call."""


def fail_if_called(*args: object, **options: object) -> None:
    """Raise AssertionError."""
    raise AssertionError("a function was called that this test expects nobody to call")
