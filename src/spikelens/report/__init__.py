"""Report: figures, table of scores and summary of a run. It computes no new results."""
