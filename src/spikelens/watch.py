"""Watcher process, started by a rank (`mpi.watched`), that reports which rank on its machine was killed.

A killed rank cannot report anything, and the launcher kills the other ranks before they can. The launcher of
MPICH names one of the dead processes, but not always the one that died first. This process sees them exit one
by one. It imports nothing from spikelens, so it starts fast and needs little memory.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Mapping

DONE = b"."
"""Written to standard input when the ranks no longer need to be watched."""


def watch(process_of: Mapping[int, int]) -> list[int]:
    """Wait until a process exits; return the exited ranks, or none if DONE arrives on stdin first."""
    poll, rank_of, ended = select.poll(), {}, []
    for rank, process in process_of.items():
        try:
            rank_of[os.pidfd_open(process)] = rank
        except ProcessLookupError:
            ended.append(rank)
        except OSError:  # not supported by the kernel or container
            return []
    for descriptor in [0, *rank_of]:
        poll.register(descriptor, select.POLLIN)
    while not ended:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if 0 in ready:
            if os.read(0, 1) == DONE:
                return []
            poll.unregister(0)  # the rank at the other end is exiting
        ended = [rank_of[descriptor] for descriptor in ready if descriptor in rank_of]
    return ended


def main(log: str, *ranks: str) -> None:
    """Watch the ranks, given as RANK=PROCESS; report a killed one on stderr and in the log file, if any."""
    process_of = {int(rank): int(process) for rank, process in (text.split("=") for text in ranks)}
    ended = watch(process_of)
    if not ended:
        return
    which = ", ".join(f"rank {rank} (process {process_of[rank]})" for rank in ended)
    cause = "probably killed, e.g. out of memory (see dmesg)"
    text = f"{which} on {socket.gethostname()} died first, without an error message: {cause}\n"
    sys.stderr.write(text)
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
