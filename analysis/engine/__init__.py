"""The engine: find a model's neurons, record one forward pass, and replay it from the edited block up."""
