"""Random numbers inside kernels: SplitMix64 as a function of a seed and a counter.

Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

import numpy as np

from eventkit._jit import jit


def seed_of(rng: np.random.Generator) -> np.uint64:
    """A seed for a kernel."""
    return np.uint64(rng.integers(2**64, dtype=np.uint64))


@jit
def uniform(seed: np.uint64, i: int) -> float:
    """The i-th number of this seed, in 0 <= u < 1, with 53 bits."""
    z = seed + (np.uint64(i) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)
