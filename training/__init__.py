"""Trains and measures the bundled models: `make demo-models`. Not part of the package."""
