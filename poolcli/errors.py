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
