"""A model's inputs and outputs, and its graph cut in two: what runs once (prefix), what runs in every pass (suffix)."""
