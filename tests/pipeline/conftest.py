"""The command line and the toy tasks, as the tests of the commands have them."""

from tests.cli.conftest import pretrain, pwm, store, toys  # noqa: F401
