"""Measurements: each module prints a table, and with --json nothing but JSON. None of them is a test."""
