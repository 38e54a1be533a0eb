"""The kinds of explanation methods, one file each: scores of pairs of neurons, input data, and cost."""
