"""Measurements against peers and against the figures the project is held to; each module is a command of its own."""
