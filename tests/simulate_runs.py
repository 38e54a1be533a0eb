"""Simulate several prepared runs, one after the other, in one launch: `mpiexec -n N python simulate_runs.py N RUN ...`."""

from __future__ import annotations

import sys

from spikelens import mpi
from spikelens.config import load_run
from spikelens.simulation.run import simulate_segment


def main() -> None:
    comm = mpi.world(int(sys.argv[1]))
    try:
        for folder in sys.argv[2:]:
            run = load_run(folder)
            for segment in range(run.n_segments):
                simulate_segment(run, segment, comm)
    except BaseException as error:
        if comm is None:
            raise
        mpi.abort(comm, error)


if __name__ == "__main__":
    main()
