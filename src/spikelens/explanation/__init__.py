"""Explanation: what the models learnt, and whether their attention shows the wiring, with the controls that such a claim needs."""
