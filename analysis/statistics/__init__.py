"""Intervals, and the table type that every experiment returns."""
