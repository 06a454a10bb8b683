"""Trains refiners: annotations -> synthetic poses -> crops -> network -> losses -> weights file."""
