"""What a user can mend: one line that says what was expected, what came, where, and what to change."""


class UserError(Exception):
    """Shown as one line without a traceback; the process ends with exit code 2."""
