"""The benchmark's network in other simulators, each in an environment of its own (benchmarks/README.md)."""
