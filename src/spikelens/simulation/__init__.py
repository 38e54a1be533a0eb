"""The second stage: simulate the network segment by segment, on any number of MPI ranks."""
