"""A rank that fails, started together with working ranks.

Usage: `mpiexec -n 1 spikelens ... : -n 1 python failing_rank.py HOW ...`

HOW is `exception`: writing the third shard fails; or `memory`: after the start of MPI, only a few MB can be
allocated.
"""

from __future__ import annotations

import itertools
import resource
import sys
from pathlib import Path

from spikelens import cli, config, layouts, mpi, stores

HEADROOM_BYTES = 2 * 2**20
"""Memory limit of the rank above its current use [B], which is less than its synapses need."""


def fail_in_third_write():
    calls, write_shard = itertools.count(1), stores.write_shard

    def failing(*arguments):
        if next(calls) == 3:
            raise RuntimeError("struck by a test")
        return write_shard(*arguments)

    stores.write_shard = failing


def limit_memory():
    world = mpi.world

    def limited(ranks):
        comm = world(ranks)
        import spikelens.simulation.run  # noqa: F401  # so that neither compiled code nor zarr's threads fail

        run = config.load_run(sys.argv[3])
        layouts.n_synapses(run, 0)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + HEADROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return comm

    mpi.world = limited


if __name__ == "__main__":
    {"exception": fail_in_third_write, "memory": limit_memory}[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
