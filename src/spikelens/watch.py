"""Tells which rank of a machine was killed: a process of its own, started by one of the ranks (`mpi.watched`).

A rank that is killed has no last word, and the launcher ends the other ranks so fast that they have none either; of all those
processes mpich's mpiexec then names one, not always the first. This one sees them end one after the other. It imports nothing of
spikelens, so that it starts fast and stays small.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Mapping

DONE = b"."
"""Written to standard input once the ranks need not be watched any more."""


def watch(process_of: Mapping[int, int]) -> list[int]:
    """Wait until the first of the processes ends; the ranks found to have ended, none if standard input says DONE before."""
    poll, rank_of, ended = select.poll(), {}, []
    for rank, process in process_of.items():
        try:
            rank_of[os.pidfd_open(process)] = rank
        except ProcessLookupError:
            ended.append(rank)
        except OSError:  # a kernel or a container that does not allow it
            return []
    for descriptor in [0, *rank_of]:
        poll.register(descriptor, select.POLLIN)
    while not ended:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if 0 in ready:
            if os.read(0, 1) == DONE:
                return []
            poll.unregister(0)  # the rank that would have said so is ending
        ended = [rank_of[descriptor] for descriptor in ready if descriptor in rank_of]
    return ended


def main(log: str, *ranks: str) -> None:
    """Watch the ranks, each given as RANK=PROCESS, and say on standard error, and in a log file if one is named, which was killed."""
    process_of = {int(rank): int(process) for rank, process in (text.split("=") for text in ranks)}
    ended = watch(process_of)
    if not ended:
        return
    which = ", ".join(f"rank {rank} (process {process_of[rank]})" for rank in ended)
    text = f"{which} on {socket.gethostname()} ended first, without a message: killed, perhaps for want of memory (see dmesg)\n"
    sys.stderr.write(text)
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
