"""posefix_track: makes any tracker's human poses better by looking at the pixels again."""

__version__ = "0.1.0"
