"""Representations with weights: layers from a batch of raw events to frames, trained with a net."""

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.loader.packed import PackedEvents
from eventkit.representations import MAX_BYTES


class LearnableEST(nn.Module):
    """The event spike tensor with a learned kernel: PackedEvents -> float32 (N, 1, 2·bins, H, W).

    OFF bins come first, then ON bins, as in the representation `est`. With t* = (t - t0) / (t1 -
    t0), an event adds t*·k(t* - i/(bins - 1)) to bin i of its polarity. k is a network
    1-hidden-hidden-1 with leaky ReLU (slope 0.1), and starts close to the trilinear kernel of
    `est`: `fit` steps of Adam, which give the same weights for the same `seed`. Events outside the
    sensor are left out.

    Gehrig et al., End-to-End Learning of Representations for Asynchronous Event-Based Data, ICCV
    2019. Raises OptionError if bins or hidden are too small, or if a batch would need too much
    memory.

    >>> from eventkit import Events
    >>> events = Events([0, 5, 10], [1, 1, 0], [0, 0, 2], [1, 1, 0], size=(4, 3))
    >>> LearnableEST(bins=3)(PackedEvents.of([events])).shape
    torch.Size([1, 1, 6, 3, 4])
    """

    def __init__(self, bins: int = 9, *, hidden: int = 30, fit: int = 1000, seed: int = 0) -> None:
        super().__init__()
        if bins < 2 or hidden < 1:
            raise OptionError(
                f"LearnableEST: bins is {bins} and hidden {hidden}, expected at least 2 and 1"
            )
        self.bins = bins
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.kernel = nn.Sequential(
                nn.Linear(1, hidden),
                nn.LeakyReLU(0.1),
                nn.Linear(hidden, hidden),
                nn.LeakyReLU(0.1),
                nn.Linear(hidden, 1),
            )
            self._fit(fit)

    def _fit(self, steps: int) -> None:
        """Bring the kernel close to max(0, 1 - |distance|·(bins - 1))."""
        optimizer = torch.optim.Adam(self.kernel.parameters(), lr=1e-2)
        for _ in range(steps):
            distance = torch.rand(2000, 1) * 2 - 1
            wanted = (1 - distance.abs() * (self.bins - 1)).clamp(min=0)
            optimizer.zero_grad()
            (self.kernel(distance) - wanted).square().sum().backward()
            optimizer.step()
        optimizer.zero_grad()

    def forward(self, packed: PackedEvents) -> Tensor:
        width, height = packed.size
        shape = (len(packed), 2, self.bins, height, width)
        n_bytes = 8 * len(packed) * self.bins * height * width
        if n_bytes > 4 * MAX_BYTES:
            raise OptionError(f"LearnableEST: this batch would have {n_bytes / 1e9:,.1f} GB")
        inside = (packed.x < width) & (packed.y < height)
        sample = packed.sample[inside]
        time = packed.t[inside].double() / packed.spans[sample].clamp(min=1)
        time = time.float()
        # Each distance goes through the kernel once: memory for bins x events x hidden floats.
        offsets = torch.arange(self.bins, device=time.device) / (self.bins - 1)
        distances = time[:, None] - offsets
        values = time[:, None] * self.kernel(distances.reshape(-1, 1)).view_as(distances)
        first = (sample * 2 + packed.p[inside]) * self.bins
        bins = first[:, None] + torch.arange(self.bins, device=time.device)
        cells = (bins * height + packed.y[inside, None]) * width + packed.x[inside, None]
        out = torch.zeros(2 * self.bins * len(packed) * height * width, device=time.device)
        out = out.index_add(0, cells.reshape(-1), values.reshape(-1))
        return out.view(shape).view(len(packed), 1, 2 * self.bins, height, width)
