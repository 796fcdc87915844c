"""The exception whose message is written for the user."""


class UserError(Exception):
    """An error that the user can correct.

    The message is one line: what was found, where (the file, key or value), and what to do about it.
    The command line prints it without a traceback and exits with status 2.
    """
