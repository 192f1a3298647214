"""Suppress and enhance neuron sets and read what changes (eq. 11, tables 1 and 2)."""
