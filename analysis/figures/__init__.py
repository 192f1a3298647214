"""Figures for a paper, drawn from the tables: the same numbers, never others."""
