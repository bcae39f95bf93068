"""`python -m pellucid` is the command `pellucid`, where the folder of scripts is not on the path."""

import sys

from pellucid.cli.main import run

sys.exit(run())
