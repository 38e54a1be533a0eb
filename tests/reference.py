"""The network's step, written plainly from docs/model.md: numpy, one loop over time, no tricks. The simulation must equal it.

Deliberately naive: weights change as spikes happen, arrivals are looked up in the list of all spikes, nothing is shared with the
package but the random numbers of the drive.
"""

from __future__ import annotations

import numpy as np

F = np.float32


def simulate(edges, cells, n_steps, kicked, kick, events=(), plasticity=True, w_max=10 * 65536, background=None, watch=None):
    """Simulate a network from rest.

    edges: (source, target, delay, weight, plastic), weight in 2^-16 mV; cells: (a, b, c, d, v0, u0) arrays; kicked(t): neurons that
    get `kick` at step t; events: (step, neuron, amount); background(t): amounts (n,) added at step t; watch(v, u, weight) is called
    after each step, before the weights change. Returns raster (n_steps, n) bool and final weights.
    """
    source, target, delay, weight, plastic = (np.asarray(column).astype(np.int64) for column in edges)
    a, b, c, d, v, u = (np.asarray(column).astype(F).copy() for column in cells)
    ltd, ltp = ([round(float(A * np.exp(-k / 20) * 65536)) for k in range(194)] for A in (0.12, 0.10))
    change = np.zeros(len(source), np.int64)
    last_arrival = np.full(len(source), -(10**6))
    last_spike = np.full(len(v), -(10**6))
    raster = np.zeros((n_steps, len(v)), bool)
    for t in range(n_steps):
        sent = t - delay
        arrives = (sent >= 0) & raster[np.maximum(sent, 0), source]
        current = np.zeros(len(v), np.int64)
        np.add.at(current, target[arrives], weight[arrives])
        for neuron in kicked(t):
            current[neuron] += kick
        for step, neuron, amount in events:
            if step == t:
                current[neuron] += amount
        if background:
            current += background(t)

        x = (F(140) - u) + current.astype(np.int32).astype(F) * F(2**-16)
        for _ in range(2):
            v = v + F(0.5) * (((F(0.04) * v) * v + F(5) * v) + x)
        u = u + a * (b * v - u)
        spikes = v >= F(30)
        v, u = np.where(spikes, c, v), np.where(spikes, u + d, u)
        raster[t] = spikes

        if watch:
            watch(v, u, weight)
        if plasticity:
            for k in np.flatnonzero(arrives & (plastic == 1)):
                lag = t - last_spike[target[k]] - 1
                change[k] -= ltd[lag] if lag < len(ltd) else 0
                last_arrival[k] = t
            for k in np.flatnonzero(spikes[target] & (plastic == 1)):
                lag = t - last_arrival[k]
                change[k] += ltp[lag] if lag < len(ltp) else 0
            last_spike[spikes] = t
            if (t + 1) % 1000 == 0:
                p = plastic == 1
                weight[p] = np.minimum(w_max, np.maximum(0, weight[p] + 655 + change[p]))
                change[p] = np.floor_divide(9 * change[p], 10)
    return raster, weight


def philox4x32(counter, seed):
    """Philox4x32-10 in plain Python; a word of the counter may be an array of them, (n,) uint64."""
    c = list(counter)
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c
