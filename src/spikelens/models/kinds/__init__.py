"""The kinds of models, one file each: options, data, cost, and output on the test range."""
