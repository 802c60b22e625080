"""Layers as pure functions: mode, variables, paths, dtypes and the symbolic graph."""
