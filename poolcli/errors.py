"""The one error that poolcli raises on purpose."""


class PoolError(ValueError):
    """What is wrong, and what to do about it.

    Attributes:
        message: what is wrong, without a full stop.
        remedy: what the user can do about it; may be empty.

    >>> str(PoolError("the window is too large", "make size smaller"))
    'the window is too large; make size smaller'
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        """Keep both parts; they are also the pickled arguments."""
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Both parts on one line."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message
