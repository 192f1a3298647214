"""Runs: what is asked for, what of it is missing, who computes it, and how it reaches the store.

The only room that joins method and store. `plan`, `schedule`, `job`, `executors`, `client` and `status` know no torch;
`worker` does, and lives in a process of its own.
"""
