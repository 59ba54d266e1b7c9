"""The one exception that is a user's mistake and not ours."""


class UserError(Exception):
    """One line that says what was wrong, where, and what to do; the CLI prints it and exits 2."""
