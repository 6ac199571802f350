"""The error that a user can mend."""


class UserError(Exception):
    """Bad input: one sentence that names what is wrong, where, and what to do.

    Commands print it without a traceback and exit with status 2.

    Example:

    >>> raise UserError("no images in photos/cat; put at least one JPEG or PNG there")
    """
