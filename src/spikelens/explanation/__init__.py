"""Explanation: does attention reveal the wiring? Scores of pairs of neurons, with controls."""
