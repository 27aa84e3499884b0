"""What `convert` returns: dataclasses that can be read as mappings, too."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any


class Result(Mapping[str, Any]):
    """A dataclass whose fields are also the items of a mapping: result.out and result["out"]."""

    def __getitem__(self, name: str) -> Any:
        if name not in set(self):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, repr=False, eq=False)
class Converted(Result):
    """A finished store, and what making it took.

    `samples` are counts by split, `shape` is (T, C, H, W) of a sample, None for events;
    `ledger` says where the events that were read went, `bytes` is the size of the store;
    `resumed_shards` were done by an earlier run; `note` says if nothing was to be done.
    """

    out: str
    note: str
    dataset: str
    represent: str
    samples: dict[str, int]
    shape: list[int] | None
    events: int
    ledger: dict[str, int]
    bytes: int
    resumed_shards: int
    seconds: float
    warnings: list[str]

    def __repr__(self) -> str:
        each = "events" if self.shape is None else " x ".join(map(str, self.shape))
        note = f", {self.note}" if self.note else ""
        return (
            f"Converted({self.out!r}, {_counts(self.samples)}, each {each}, "
            f"{self.events:,} events read, {self.bytes:,} bytes, "
            f"{len(self.warnings)} warnings{note})"
        )


@dataclass(frozen=True, repr=False, eq=False)
class Planned(Result):
    """What a conversion would do (dry_run=True): `there` says what is at `out` already.

    `source_bytes` are read from `sources` files, at most `memory_bytes` are held with `workers`;
    `dense_bytes` is the size before compression, None where it is not known; `seconds` is an
    estimate.
    """

    out: str
    there: str
    dataset: str
    represent: str
    samples: dict[str, int]
    sources: int
    source_bytes: int
    shape: list[int | None] | None
    dtype: str | None
    dense_bytes: int | None
    shards: dict[str, int]
    memory_bytes: int
    workers: int
    warnings: list[str]
    seconds: float

    def __repr__(self) -> str:
        return (
            f"Planned({self.out!r}, {_counts(self.samples)}, {self.represent}, "
            f"{self.sources:,} files, about {self.seconds:.3g} s)"
        )


@dataclass(frozen=True, repr=False, eq=False)
class Part(Result):
    """What one job of an array has done (shard="i/n"); `finalize` makes the store of all."""

    out: str
    shard: str
    note: str
    jobs: int
    samples: int
    total: int
    events: int
    bytes: int
    failed: dict[str, str]

    def __repr__(self) -> str:
        return f"Part({self.out!r}, shard {self.shard}, {self.samples:,} of {self.total:,} samples)"


def _counts(samples: dict[str, int]) -> str:
    return " + ".join(f"{count:,} {split}" for split, count in samples.items())
