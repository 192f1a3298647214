"""Trains and measures the bundled models: `make demo-models`. Nothing else of the package imports it."""
