"""How the samples of a split are laid in chunks and shards, and so in jobs."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Grid:
    """How the samples of one split are laid in chunks and shards; shapes without (C, H, W)."""

    samples: int
    chunk: tuple[int, int]  # samples, frames
    shard: tuple[int, int]

    @property
    def per_job(self) -> int:
        """How many samples a job makes: those of one row of shards."""
        return self.shard[0]

    @property
    def jobs(self) -> int:
        return -(-self.samples // self.per_job)


@dataclass(frozen=True)
class Segments:
    """How the events of one split are laid: a job writes a segment, one sample after the other."""

    samples: int
    per_job: int
    chunk: int  # events
    shard: int

    @property
    def jobs(self) -> int:
        return -(-self.samples // self.per_job)


def grid(samples: int, n_frames: int | None, frame_bytes: int) -> Grid:
    """Chunks of one sample (more when tiny, part of its time when huge), shards of <= 64 MiB.

    At least 16 shards where there are samples for it, so that workers share the work. With an
    unknown number of frames, time is cut in blocks and each block is a shard of its own.
    """
    if n_frames is None:
        step = max(1, min(64, MIB // frame_bytes))
        extent = step
    elif n_frames * frame_bytes <= 8 * MIB:
        step = extent = n_frames
    else:
        step = max(1, 8 * MIB // frame_bytes)
        extent = -(-n_frames // step) * step
    block = step * frame_bytes
    k = 1 if block >= 16 * 1024 else _power_up(-(-16 * 1024 // block))
    fitting = min(64 * MIB // (k * extent * frame_bytes), samples // (16 * k))
    per_shard = k * max(1, min(4096, _power_down(fitting)))
    return Grid(samples, (k, step), (per_shard, extent))


def segments(samples: int, typical: int) -> Segments:
    """Segments of about 8 M events for samples of about `typical` events.

    Every sample begins a chunk, so that a chunk holds most samples whole, but no more than a slice
    of time should have to decode. At least 16 jobs where there are samples for it.
    """
    chunk = min(max(_power_up(typical + typical // 4), 1024), 65536)
    padded = -(-max(typical, 1) // chunk) * chunk
    per_job = max(1, min(4096, _power_down(min((1 << 23) // padded, samples // 16))))
    # A shard's index has 16 bytes for every chunk, absent or not: so no more than are expected.
    return Segments(samples, per_job, chunk, min(max(_power_up(per_job * padded), chunk), 1 << 23))


def _power_up(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _power_down(n: int) -> int:
    return 1 << (n.bit_length() - 1) if n > 0 else 0
