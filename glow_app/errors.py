"""The one exception that a person is meant to read."""


class UserError(Exception):
    """Something that a person can put right.

    The message is one line: what was found, where (the file, key or value), and what to do about it.
    The command line prints it without a traceback and exits with status 2.
    """
