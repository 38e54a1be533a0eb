"""The first stage: which neurons there are and how they are wired, block by block."""
