"""The order of samples in an epoch, and where in it a training run stands, as a small JSON."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from eventkit.errors import OptionError

WINDOW = 50  # buckets that are sorted by length together


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """A random order of 0..n-1, the same on every machine and with every version of numpy.

    The numbers are sorted by raw output of Philox4x64 keyed by (seed, epoch), whose stream is fixed
    (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011).
    """
    key = np.array([seed % 2**64, epoch % 2**64], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")


def bucketed(order: np.ndarray, lengths: np.ndarray, bucket: int) -> np.ndarray:
    """The order with samples of similar length side by side: `bucket` of them at a time.

    Parts of 50 buckets are sorted by length, and their buckets put in the order of their first
    samples before; so padding is small and the order still random.
    """
    parts = []
    for start in range(0, len(order), WINDOW * bucket):
        part = order[start : start + WINDOW * bucket]
        ranks = np.argsort(lengths[part], kind="stable")  # positions in `part`, by length
        cuts = [ranks[first : first + bucket] for first in range(0, len(ranks), bucket)]
        # The last bucket of all may be short: it stays last, so that batches keep to buckets.
        *full, last = cuts
        full.sort(key=lambda ranks: int(ranks[0]))
        parts.append(part[np.concatenate([*full, last])])
    return np.concatenate(parts) if parts else order


class Position:
    """Where a run stands: a seed, an epoch, and how much of the epoch was consumed.

    `identity` is what a state must agree in to be loaded.
    """

    def __init__(self, seed: int, total: int, identity: dict[str, Any]) -> None:
        self.seed, self.total, self.identity = seed, total, identity
        self.epoch = self.consumed = self._start = 0
        self._loaded = False  # a state that the next iteration goes on from
        self._asked = False  # for this very epoch, even if nothing is left of it

    def begin_at(self, left: bool) -> None:
        """Begin an iteration of this epoch, or of the next one.

        The next one if a loaded state leaves nothing of this one, or something of it was taken and
        no state was loaded; unless this epoch was asked for.
        """
        done = not left if self._loaded else self.consumed > 0
        if done and not self._asked:
            self.epoch, self.consumed = self.epoch + 1, 0
        self._loaded, self._asked, self._start = False, False, self.consumed

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from its start or where a state was loaded."""
        if epoch != self.epoch or not self._loaded:
            self.epoch, self.consumed, self._loaded = epoch, 0, False
        self._asked = True

    def state_dict(self) -> dict[str, Any]:
        """Where this epoch stands, the same on all ranks; for json.dump."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "consumed": self.consumed,
            **self.identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state in the next iteration; OptionError if it is of other samples."""
        if not isinstance(state, dict) or set(self.state_dict()) - set(state):
            raise OptionError(
                f"the state of the loader lacks some of {', '.join(self.state_dict())}"
            )
        for key, mine in self.identity.items():
            if state[key] != mine:
                raise OptionError(
                    f"the state of the loader is of other samples: its {key} is {state[key]!r}, "
                    f"here it is {mine!r}"
                )
        seed, epoch, consumed = (state[key] for key in ("seed", "epoch", "consumed"))
        if not all(isinstance(v, int) for v in (seed, epoch, consumed)):
            raise OptionError("seed, epoch and consumed of the loader's state must be integers")
        if not 0 <= consumed <= self.total or epoch < 0:
            raise OptionError(
                f"the state of the loader says {consumed} of {self.total} in epoch {epoch}"
            )
        self.seed, self.epoch, self.consumed = seed, epoch, consumed
        self._loaded, self._asked = True, False


class ResumableSampler(Position, Sampler[Any]):
    """Numbers of samples in the order of an epoch, as `sampler=` or `batch_sampler=` of DataLoader.

    Without a `batch_size` it gives numbers, with one it gives lists of them. The order of an epoch
    depends on n, `seed`, the epoch and the bucket, and on nothing else. Of `world_size` processes,
    number `rank` takes every world_size-th sample, so that together their batches are
    batch_size·world_size consecutive samples of that order. At the end of an epoch all ranks get
    equally many: with `drop_last` what is left over is dropped, otherwise missing samples are
    replaced by the first of the order again.

    `state_dict` says in a few numbers how many samples all ranks have taken together; loaded with
    any other `world_size`, `batch_size` or number of workers, exactly the rest of the order
    follows. A DataLoader takes samples before they are trained on: with it, ask for
    `state_dict(batches=k)` after the k-th batch of its iteration (StatefulDataLoader does right by
    itself). The first iteration is epoch 0, each next one an epoch more, `set_epoch` sets it.

    `bucket` (with the `lengths` of samples) keeps so many samples of similar length together.
    """

    def __init__(
        self,
        n: int,
        *,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        lengths: np.ndarray | None = None,
        bucket: int | None = None,
        plan: str = "",
    ) -> None:
        for name, value in (("batch_size", batch_size), ("bucket", bucket)):
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}, expected at least 1")
        if not 0 <= rank < world_size:
            raise OptionError(f"rank is {rank}, expected 0..{world_size - 1} (world_size - 1)")
        if bucket and (lengths is None or len(lengths) != n):
            raise OptionError(f"bucket={bucket} needs the lengths of all {n} samples")
        super().__init__(seed, n, {"n": n, "shuffle": shuffle, "bucket": bucket, "plan": plan})
        self.n, self.batch_size, self.shuffle, self.drop_last = n, batch_size, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self._lengths, self._bucket = lengths, bucket

    @property
    def step(self) -> int:
        """How many samples all ranks take together at a time."""
        return (self.batch_size or 1) * self.world_size

    def order(self) -> np.ndarray:
        """All samples in the order of this epoch, for all ranks."""
        order = permutation(self.n, self.seed, self.epoch) if self.shuffle else np.arange(self.n)
        if self._bucket is None or self._lengths is None:
            return order
        return bucketed(order, self._lengths, self._bucket)

    def begin(self) -> tuple[list[np.ndarray], list[int]]:
        """Begin an iteration: what is left for this rank, and how many of each are no repetition.

        That is the rest of the epoch after a state was loaded, otherwise all of an epoch.
        """
        self.begin_at(self._left(self.consumed) > 0)
        order = self.order()
        batches, real = [], []
        for k in range(self._left(self.consumed)):
            group = order[self.consumed + k * self.step :][: self.step]
            rows = -(-len(group) // self.world_size)
            full = np.concatenate([group, np.resize(order, rows * self.world_size - len(group))])
            batches.append(full[self.rank :: self.world_size])
            real.append(len(group[self.rank :: self.world_size]))
        return batches, real

    def advance(self) -> None:
        """One more batch (or sample) of each rank is taken."""
        self.consumed = min(self.consumed + self.step, self.n)

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """Where this epoch stands, the same on all ranks; for json.dump.

        That is after all that was taken, or after so many batches of the current iteration.
        """
        state = super().state_dict()
        if batches is not None:
            state["consumed"] = min(self._start + batches * self.step, self.n)
        return state

    def __iter__(self) -> Iterator[Any]:
        for batch in self.begin()[0]:
            self.advance()
            yield int(batch[0]) if self.batch_size is None else batch.tolist()

    def __len__(self) -> int:
        """Batches (or samples) of this rank in a whole epoch."""
        return self._left(0)

    def _left(self, consumed: int) -> int:
        whole, rest = divmod(self.n - consumed, self.step)
        return whole + bool(rest and not self.drop_last)
