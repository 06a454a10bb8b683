"""`python -m posefix_track`."""

import sys

from posefix_track.cli import main

if __name__ == "__main__":
    sys.exit(main())
