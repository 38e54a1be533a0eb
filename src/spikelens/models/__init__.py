"""The sequence models: what they are trained on, the models themselves, trivial baselines, training, and loading."""
