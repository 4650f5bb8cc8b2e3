"""The two kinds of errors that reach a user: what they can mend, and what failed."""


class TrygonError(Exception):
    """A failure that is not the user's: printed as one line, exit code 1."""

    exit_code = 1


class UserError(TrygonError):
    """Something the user can mend. The message names the thing and the way out; exit code 2."""

    exit_code = 2
