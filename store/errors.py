"""The one exception for mistakes a person can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something a person asked for cannot be done: the text says what is wrong, where, and what to do.

    The command line prints the text alone and exits with code 2; the workbench shows it in place.
    """
