"""How neuron sets spread over the layers (figures 3 to 5)."""
