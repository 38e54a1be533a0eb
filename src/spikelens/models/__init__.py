"""Sequence models: training data, networks, trivial baselines, training, and loading."""
