"""Spikes, and the wiring where it is known: what features, models, explanation and report read, wherever it comes from."""
