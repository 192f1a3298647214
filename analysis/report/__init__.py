"""Every table and figure of a store in one report."""
