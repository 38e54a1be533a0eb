"""Tiny runs of all stages and models. Their bits determine the version numbers in `versions.json`."""
