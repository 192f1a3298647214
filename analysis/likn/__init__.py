"""Language-independent neurons (eq. 8), with chance and mismatched facts as controls."""
