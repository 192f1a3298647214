"""The Python interface: load a model, ask it, attribute an answer to its neurons, edit them. `knscope` re-exports it."""
