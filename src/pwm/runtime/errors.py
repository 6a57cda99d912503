"""The exception for wrong input, as opposed to a bug."""


class PWMError(Exception):
    """Wrong input. The message is one line that says what is wrong and how to fix it.

    The command line prints the message and exits with code 2; any other exception is a bug and keeps its traceback.
    """
