"""The second stage: the network in time, segment by segment, on any number of MPI ranks."""
