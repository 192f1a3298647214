"""Degenerate knowledge neurons (eq. 9-10): ablate single neurons and pairs, and count the pairs that back each other up."""
