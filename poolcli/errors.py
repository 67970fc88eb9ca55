"""The only exception that poolcli raises on purpose."""


class PoolError(ValueError):
    """An error that states what is wrong and what the user can do about it.

    Attributes:
        message: what is wrong, without a full stop.
        remedy: what the user can do about it; may be empty.

    >>> str(PoolError("the window is too large", "make size smaller"))
    'the window is too large; make size smaller'
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        """Store both parts."""
        # Both are passed on as arguments, since pickle rebuilds an exception from those alone.
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return both parts on one line."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


def missing(what: str, package: str, extra: str) -> PoolError:
    """Return the error for an optional package that is not installed.

    Args:
        what: what needs it.
        package: its name on the index of packages.
        extra: the extra of poolcli that installs it.

    >>> str(missing("JPEG XL", "imagecodecs", "deep"))
    'JPEG XL needs imagecodecs; install it: pip install imagecodecs (the extra [deep])'
    """
    return PoolError(
        f"{what} needs {package}", f"install it: pip install {package} (the extra [{extra}])"
    )
