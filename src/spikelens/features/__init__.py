"""The features stage: quantities computed from the spikes by the formulas of the paper (traces, rates, causal components)."""
