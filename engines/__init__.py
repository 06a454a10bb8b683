"""Runs one compiled network. Knows tensors, not people."""

from engines.engine import Engine, compile_engine

__all__ = ["Engine", "compile_engine"]
