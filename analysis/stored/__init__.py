"""What the experiments ask of a store: its facts, neuron sets and ranked neurons."""
