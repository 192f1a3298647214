"""Bundled facts and models: what `knscope demo` analyses on a machine that has nothing else."""
