"""Drawn people with known joints: demo clips, tests, extra training pictures and a benchmark without any download."""

from posefix_track.figures.scene import FigureFrame, render_clip, render_person

__all__ = ["FigureFrame", "render_clip", "render_person"]
