"""Report: the figures, the table of scores and the summary of a run, drawn from its stores; nothing is computed here but for show."""
