"""Losses by name, over the votes of a net.

A loss is a function `name(votes, target, lengths, *, options) -> scalar`: votes float32
(T, N, classes), target (N, classes) the probability of each class (smoothed or mixed labels are not
0 and 1), lengths (N,) the real steps; votes on padding never count.

The losses of the second half take spikes, so votes of 0 or more: the net must end in neurons. They
give a gradient to spikes only, after Zhu et al., "Exploring loss functions for time-based training
strategy in spiking neural networks", NeurIPS 2023. There a gradient is that of the time of a spike,
for event-driven backpropagation; here it is that of the spike itself, as surrogate gradients want
it, unless `gradient=times`: more input makes a spike earlier, so the sign is the opposite.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from eventkit.errors import OptionError
from eventkit.registry import bind, parse_spec, unknown

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Gradient = Literal["spikes", "times"]

LOSSES: dict[str, Callable[..., Tensor]] = {}


def loss(spec: str) -> Loss:
    """The loss of a spec such as `tet:weight=0.05`; UnknownName or OptionError if wrong."""
    name, options = parse_spec(spec)
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return partial(LOSSES[name], **bind(LOSSES[name], options, name))


def _register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    LOSSES[function.__name__] = function
    return function


def _real(votes: Tensor, lengths: Tensor) -> Tensor:
    """1 where a step is real, 0 on padding: (T, N, 1)."""
    steps = torch.arange(len(votes), device=votes.device)
    return (steps[:, None] < lengths)[..., None].to(votes.dtype)


def _mean(votes: Tensor, lengths: Tensor) -> Tensor:
    return (votes * _real(votes, lengths)).sum(0) / lengths.clamp(min=1)[:, None]


@_register
def ce_mean(votes: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Cross-entropy of the mean over time, as SEW ResNet."""
    return functional.cross_entropy(_mean(votes, lengths), target)


@_register
def rate_mse(votes: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Mean squared error of the rate, the mean over time, against the labels, as PLIF."""
    return functional.mse_loss(_mean(votes, lengths), target)


@_register
def tet(
    votes: Tensor, target: Tensor, lengths: Tensor, *, weight: float = 1e-3, level: float = 1.0
) -> Tensor:
    """(1 - weight) mean_t CE(votes_t) + weight MSE(votes, level): Deng et al., TET, ICLR 2022."""
    real = _real(votes, lengths)[..., 0]
    steps = functional.cross_entropy(
        votes.flatten(0, 1), target.expand(len(votes), -1, -1).flatten(0, 1), reduction="none"
    ).reshape(real.shape)
    n = real.sum().clamp(min=1)
    entropy = (steps * real).sum() / n
    spread = ((votes - level).square().mean(-1) * real).sum() / n
    return (1 - weight) * entropy + weight * spread


@_register
def softmax_sum(votes: Tensor, target: Tensor, lengths: Tensor, *, log: bool = True) -> Tensor:
    """Cross-entropy of the sum over time of softmax(votes_t), as nets for SHD use it.

    log=false takes the sums as logits, a softmax of softmaxes, as the code of DCLS-delays does.
    """
    sums = (votes.softmax(-1) * _real(votes, lengths)).sum(0)
    if not log:
        return functional.cross_entropy(sums, target)
    return -(target * (sums / lengths.clamp(min=1)[:, None]).clamp(min=1e-12).log()).sum(1).mean()


@_register
def max_over_time(votes: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Cross-entropy of the largest vote over time, as Cramer et al. for SHD."""
    hidden = votes.masked_fill(_real(votes, lengths) == 0, -torch.inf)
    largest = hidden.amax(0).clamp(min=torch.finfo(votes.dtype).min)
    return functional.cross_entropy(largest, target)


class _On(torch.autograd.Function):
    """A value, and the gradient that it gives to the votes."""

    @staticmethod
    def forward(ctx: Any, votes: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


def _spikes(votes: Tensor, lengths: Tensor, name: str) -> Tensor:
    votes = votes * _real(votes, lengths)
    if bool((votes.detach() < 0).any()):
        raise OptionError(
            f"the loss {name} takes spikes, but the net votes below 0; "
            "use a net that ends in neurons, or another loss"
        )
    return votes


def _give(votes: Tensor, value: Tensor, gradient: Tensor, kind: Gradient) -> Tensor:
    sign = 1.0 if kind == "spikes" else -1.0
    result: Tensor = _On.apply(votes, value.detach(), sign * gradient / votes.shape[1])  # type: ignore[no-untyped-call]
    return result


def _wanted(votes: Tensor, target: Tensor, desired: float, undesired: float) -> Tensor:
    """The number of spikes that each neuron should fire: (N, classes)."""
    label = functional.one_hot(target.argmax(1), votes.shape[-1])
    return undesired + (desired - undesired) * label.to(votes.dtype)


@_register
def count(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: float = 10.0, undesired: float = 1.0, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """Squared distance of the spike counts to `desired` for the label, `undesired` for others.

    Counts beyond their target cost nothing. delta = (count - target)/T, L = T/2 sum delta^2, and
    every step of a neuron gets its delta: Zhu et al., NeurIPS 2022.
    """
    spikes = _spikes(votes.detach(), lengths, "count")
    delta = _delta(spikes, target, desired, undesired) / len(votes)
    value = len(votes) / 2 * delta.square().sum(1).mean()
    return _give(votes, value, delta.expand_as(votes) * _real(votes, lengths), gradient)


def _delta(spikes: Tensor, target: Tensor, desired: float, undesired: float) -> Tensor:
    """Spikes too many or too few; 0 where a count is beyond its target."""
    wanted = _wanted(spikes, target, desired, undesired)
    too_many = spikes.sum(0) - wanted
    is_label = functional.one_hot(target.argmax(1), spikes.shape[-1]).bool()
    return torch.where(is_label, too_many.clamp(max=0), too_many.clamp(min=0))


@_register
def count_plus(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: float = 10.0, undesired: float = 1.0, zero_sum: bool = False,
    gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """`count` with delta/count on each spike, and more of it for labels that fire too little.

    With zero_sum the mean over the spikes of a sample is taken off, so its gradient sums to 0.
    Zhu et al., NeurIPS 2023 (count+, count_sum0). A silent neuron gets no gradient.
    """
    spikes = _spikes(votes.detach(), lengths, "count_plus")
    counts = spikes.sum(0)
    delta = _delta(spikes, target, desired, undesired) / len(votes)
    label = functional.one_hot(target.argmax(1), votes.shape[-1]).to(votes.dtype)
    ratio = (counts * (1 - label)).sum() / (counts * label).sum().clamp(min=1)
    strength = 1 + label * ((ratio / 10).clamp(min=1) - 1)
    each = torch.where(counts > 0, strength * delta / counts.clamp(min=1e-9), 0) * spikes
    if zero_sum:
        n = spikes.sum((0, 2)).clamp(min=1e-9)
        each = each - spikes * (each.sum((0, 2)) / n)[:, None]
    return _give(votes, len(votes) / 2 * delta.square().sum(1).mean(), each, gradient)


@_register
def ce_plus(
    votes: Tensor, target: Tensor, lengths: Tensor, *, gradient: Gradient = "spikes"
) -> Tensor:
    """Cross-entropy of 2 count/T (-20 for silent neurons), its gradient shared among the spikes.

    L = T/2 CE; a sample whose label neuron is silent gives none. Zhu et al., NeurIPS 2023 (CE+).
    """
    spikes = _spikes(votes.detach(), lengths, "ce_plus")
    counts, steps = spikes.sum(0), len(votes)
    logits = torch.where(counts > 0, 2 * counts / steps, -20.0)
    by_logit = steps / 2 * (logits.softmax(1) - target)
    heard = counts.gather(1, target.argmax(1, keepdim=True)) > 0
    each = torch.where((counts > 0) & heard, by_logit / logits, 0) * spikes
    return _give(votes, steps / 2 * functional.cross_entropy(logits, target), each, gradient)


@_register
def kernel(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: float = 10.0, undesired: float = 1.0, tau: float = 4.0,
    gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """Half the squared difference of filtered spikes and evenly spaced target spikes.

    The filter is exponential, u = u (1 - 1/tau) + spike, times 1/tau. Zhu et al., NeurIPS 2023.
    """
    wanted = _wanted(votes, target, desired, undesired)
    filtered = u = torch.zeros_like(votes[0])
    total = torch.zeros((), device=votes.device)
    difference = _spikes(votes, lengths, "kernel") - _train(wanted, len(votes))
    for now in difference * _real(votes, lengths):
        u = u * (1 - 1 / tau) + now
        filtered = u / tau
        total = total + filtered.square().sum(1).mean() / 2
    if gradient == "spikes":
        return total
    (slope,) = torch.autograd.grad(total, votes)
    return _give(votes, total, slope * votes.shape[1], gradient)


def _train(wanted: Tensor, steps: int) -> Tensor:
    """Spike trains (T, N, classes) with so many spikes, evenly spaced, the last one at the end."""
    t = torch.arange(1, steps + 1, device=wanted.device)[:, None, None]
    share = wanted.clamp(max=steps) / steps
    return (t * share + 1e-4).floor() - ((t - 1) * share + 1e-4).floor()


@_register
def timing(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: int = 10, undesired: int = 1, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """The i-th spike of a neuron against its i-th target time: (t - t_target + 1/2)/T, halved.

    Of the label's neuron only late spikes cost, of others only early ones, those by 1/sqrt(classes)
    of it. A spike that is missing counts as at T + 1, and its gradient goes to the last step.
    Zhu et al., NeurIPS 2023 (timing).
    """
    spikes = (_spikes(votes.detach(), lengths, "timing") > 0).to(votes.dtype)
    steps, label = len(votes), functional.one_hot(target.argmax(1), votes.shape[-1]).bool()
    wanted = _train(_wanted(votes, target, desired, undesired), steps)
    number, wish = spikes.cumsum(0), wanted.cumsum(0)
    each, value = torch.zeros_like(votes), torch.zeros((), device=votes.device)
    for i in range(1, max(desired, undesired) + 1):
        fired, due = (number == i) & (spikes > 0), (wish == i) & (wanted > 0)
        t = _when(fired)
        delta = torch.where(due.any(0), (t - _when(due) + 0.5) / steps, 0)
        late, early = delta.clamp(min=0), delta.clamp(max=0) / votes.shape[-1] ** 0.5
        delta = torch.where(label, late, early)
        place = torch.where(fired.any(0), fired.float().argmax(0), steps - 1)
        each.scatter_add_(0, place[None], -delta[None])
        value = value + delta.square().sum(1).mean() / 2
    return _give(votes, value, each, gradient)


def _when(spikes: Tensor) -> Tensor:
    """The step, from 1, of the only spike along time; T + 1 without one."""
    first = spikes.float().argmax(0) + 1
    return torch.where(spikes.any(0), first, len(spikes) + 1).float()


@_register
def ttfs(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    silent: float = -3.0, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """Cross-entropy of the times to first spike: the score is 1 - t/T, `silent` without a spike.

    L = T CE. The gradient goes to the first spike only, that of a silent label to the last step, as
    nothing else would wake it. The net may answer at its first spike. Zhu et al., NeurIPS 2023.
    """
    spikes = _spikes(votes.detach(), lengths, "ttfs") > 0
    steps, fires = len(votes), spikes.any(0)
    first = spikes.float().argmax(0)
    score = torch.where(fires, 1 - (first + 1) / steps, silent)
    slope = score.softmax(1) - target
    is_label = functional.one_hot(target.argmax(1), votes.shape[-1]).bool()
    place = torch.where(fires, first, steps - 1)
    each = torch.zeros_like(votes)
    each.scatter_(0, place[None], torch.where(fires | is_label, slope, 0)[None])
    return _give(votes, steps * functional.cross_entropy(score, target), each, gradient)
