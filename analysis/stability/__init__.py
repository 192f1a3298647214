"""Whether N stays the same across templates, precision and seeds."""
