"""A fact and a template as tokens: words, answer position, answer tokens."""
