"""`python -m pwm` is `pwm`."""

import sys

from pwm.cli.main import main

sys.exit(main())
