"""Fact checking with degenerate knowledge neurons (table 3)."""
