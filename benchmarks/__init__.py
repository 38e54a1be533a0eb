"""Benchmarks: each module prints a table, or with --json only JSON. None of them is a test."""
