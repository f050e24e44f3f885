"""The `latco` command."""

import signal
import sys

from . import _latco
from ._environment import use_this_interpreter


def main() -> None:
    """Runs the command line in this process."""
    # The command has its own way with Ctrl-C; Python's handler would wait for Python's next line.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    use_this_interpreter()
    sys.exit(_latco.command(["latco", *sys.argv[1:]]))
