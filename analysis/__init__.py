"""The method: attribution, ablation, editing and fact checking of knowledge neurons, and the runs that store their
results."""
