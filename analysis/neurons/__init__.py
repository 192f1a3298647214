"""Single neurons: what each writes into the vocabulary."""
