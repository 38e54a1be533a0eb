"""Tiny runs of every stage and model, whose bits decide the results versions of the code (`src/spikelens/versions.json`)."""
