"""The features stage: what the formulas of the paper make of the spikes (traces, rates, causal components)."""
