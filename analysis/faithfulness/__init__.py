"""Which attribution method agrees with brute-force ablation on this model."""
