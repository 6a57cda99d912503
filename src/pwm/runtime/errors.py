"""The one exception that means "the input is wrong", as opposed to "the program is wrong"."""


class PWMError(Exception):
    """Bad input. The message is one line that names what is wrong and how to cure it.

    The command line prints the message and exits with code 2; any other exception is a bug and keeps its traceback.
    """
