"""What can go wrong in the numeric core because of what a person asked for."""

from __future__ import annotations


class ModelError(ValueError):
    """A model (or method on that model) cannot be used; the text says why and what to do."""


class UnusableQuery(ValueError):  # noqa: N818 - it names the query's state; a run lists it and goes on
    """One query cannot be used by one model; the others go on.

    `reason` is a short stable code (counted and listed), the text says what is wrong and what to do.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
