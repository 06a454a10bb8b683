"""`python -m posefix_track`, and the command posefix-track."""

import os
import sys
from typing import NoReturn

from posefix_track.interruption import INTERRUPTED, TERMINATED


def run() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        # Loads libraries for seconds, in which Ctrl-C is not main's yet.
        from posefix_track.cli import main

        exit_code = main()
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        exit_code = INTERRUPTED
    if exit_code in (INTERRUPTED, TERMINATED):
        # Taking down the interpreter and all libraries may take seconds, and whoever has pressed Ctrl-C waits.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    run()
