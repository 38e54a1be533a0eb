"""The kinds of explanation methods, one file each: what it computes of pairs of neurons, from what, and at what cost."""
