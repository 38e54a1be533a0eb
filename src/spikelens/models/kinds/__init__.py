"""The kinds of models, one file each: options, data, cost, and what it leaves of the test range."""
