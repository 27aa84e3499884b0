"""Losses by name, over the votes of a net.

A loss is a function `name(votes, target, lengths, *, options) -> scalar`: votes float32
(T, N, classes), target (N, classes) the probability of each class (smoothed or mixed labels are not
0 and 1), lengths (N,) the real steps. It is the mean over the samples, and the T of a sample is its
own length: a padded sample counts exactly as it does alone, and votes on padding never count.

The losses of the second half take spikes, so votes of 0 or more: the net must end in neurons. They
give a gradient to spikes only, after Zhu et al., "Exploring loss functions for time-based training
strategy in spiking neural networks", NeurIPS 2023. There a gradient is that of the time of a spike,
for event-driven backpropagation; here it is that of the spike itself, as surrogate gradients want
it, unless `gradient=times`: more input makes a spike earlier, so the sign is the opposite.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from eventkit.errors import OptionError
from eventkit.registry import NotNegative, Range, Registry, Share

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Gradient = Literal["spikes", "times"]
Count = Annotated[int, Range(0)]
Finite = Annotated[float, Range()]

LOSSES: Registry[Callable[..., Tensor]] = Registry("loss", __name__)


def loss(spec: str) -> Loss:
    """The loss of a spec such as `tet:weight=0.05`; UnknownName or OptionError if wrong."""
    function, options = LOSSES.parse(spec)
    return partial(function, **options)


def weighted(loss: Loss, weights: Tensor) -> Loss:
    """The mean over the samples with a weight (classes,) each, that of its largest label."""

    def mean(votes: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        label, total = target.argmax(1), votes.new_zeros(())
        for k in sorted(set(label.tolist())):
            own = label == k
            share = weights[k] * own.sum() / len(label)
            total = total + share * loss(votes[:, own], target[own], lengths[own])
        return total

    return mean


def _real(votes: Tensor, lengths: Tensor) -> Tensor:
    """1 where a step is real, 0 on padding: (T, N, 1)."""
    steps = torch.arange(len(votes), device=votes.device)
    return (steps[:, None] < lengths)[..., None].to(votes.dtype)


def _steps(votes: Tensor, lengths: Tensor) -> Tensor:
    """The number of steps of each sample as a float, at least 1: (N, 1)."""
    return lengths.clamp(min=1)[:, None].to(votes)


def _mean(votes: Tensor, lengths: Tensor) -> Tensor:
    return (votes * _real(votes, lengths)).sum(0) / _steps(votes, lengths)


@LOSSES.register
def ce_mean(votes: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Cross-entropy of the mean over time, as SEW ResNet."""
    return functional.cross_entropy(_mean(votes, lengths), target)


@LOSSES.register
def rate_mse(votes: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Mean squared error of the rate, the mean over time, against the labels, as PLIF."""
    return functional.mse_loss(_mean(votes, lengths), target)


@LOSSES.register
def tet(
    votes: Tensor, target: Tensor, lengths: Tensor, *, weight: Share = 1e-3, level: Finite = 1.0
) -> Tensor:
    """(1 - weight) mean_t CE(votes_t) + weight MSE(votes, level): Deng et al., TET, ICLR 2022."""
    steps = functional.cross_entropy(
        votes.flatten(0, 1), target.expand(len(votes), -1, -1).flatten(0, 1), reduction="none"
    ).reshape(votes.shape[:2])
    spread = (votes - level).square().mean(-1)
    return _mean(((1 - weight) * steps + weight * spread)[..., None], lengths).mean()


@LOSSES.register
def softmax_sum(votes: Tensor, target: Tensor, lengths: Tensor, *, log: bool = True) -> Tensor:
    """Cross-entropy of the sum over time of softmax(votes_t), as nets for SHD use it.

    log=false takes the sums as logits, a softmax of softmaxes, as the code of DCLS-delays does.
    """
    sums = (votes.softmax(-1) * _real(votes, lengths)).sum(0)
    if not log:
        return functional.cross_entropy(sums, target)
    return -(target * (sums / _steps(votes, lengths)).clamp(min=1e-12).log()).sum(1).mean()


@LOSSES.register
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


def _give(
    votes: Tensor, lengths: Tensor, value: Tensor, gradient: Tensor, kind: Gradient
) -> Tensor:
    """The mean of the values (N,), whose gradient to the votes is that of the samples' mean."""
    slope = gradient * _real(votes, lengths) / votes.shape[1]
    result: Tensor = _On.apply(  # type: ignore[no-untyped-call]
        votes, value.detach().mean(), slope if kind == "spikes" else -slope
    )
    return result


def _wanted(votes: Tensor, target: Tensor, desired: float, undesired: float) -> Tensor:
    """The number of spikes that each neuron should fire: (N, classes)."""
    return undesired + (desired - undesired) * _is_label(target).to(votes.dtype)


@LOSSES.register
def count(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: NotNegative = 10.0, undesired: NotNegative = 1.0, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """Squared distance of the spike counts to `desired` for the label, `undesired` for others.

    Counts beyond their target cost nothing. delta = (count - target)/T, L = T/2 sum delta^2, and
    every step of a neuron gets its delta: Zhu et al., NeurIPS 2022.
    """
    spikes = _spikes(votes.detach(), lengths, "count")
    steps = _steps(votes, lengths)
    delta = _delta(spikes, target, desired, undesired) / steps
    return _give(votes, lengths, _half(steps, delta), delta.expand_as(votes), gradient)


def _half(steps: Tensor, delta: Tensor) -> Tensor:
    """T/2 sum delta^2 of each sample: (N,)."""
    return (steps / 2 * delta.square()).sum(1)


def _delta(spikes: Tensor, target: Tensor, desired: float, undesired: float) -> Tensor:
    """Spikes too many or too few; 0 where a count is beyond its target."""
    wanted = _wanted(spikes, target, desired, undesired)
    too_many = spikes.sum(0) - wanted
    return torch.where(_is_label(target), too_many.clamp(max=0), too_many.clamp(min=0))


@LOSSES.register
def count_plus(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: NotNegative = 10.0, undesired: NotNegative = 1.0, zero_sum: bool = False,
    gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """`count` with delta/count on each spike, and more of it for labels that fire too little.

    With zero_sum the mean over the spikes of a sample is taken off, so its gradient sums to 0.
    Zhu et al., NeurIPS 2023 (count+, count_sum0). A silent neuron gets no gradient.
    """
    spikes = _spikes(votes.detach(), lengths, "count_plus")
    counts, steps = spikes.sum(0), _steps(votes, lengths)
    delta = _delta(spikes, target, desired, undesired) / steps
    label = _is_label(target).to(votes.dtype)
    ratio = (counts * (1 - label)).sum() / (counts * label).sum().clamp(min=1)
    strength = 1 + label * ((ratio / 10).clamp(min=1) - 1)
    each = torch.where(counts > 0, strength * delta / counts.clamp(min=1e-9), 0) * spikes
    if zero_sum:
        n = spikes.sum((0, 2)).clamp(min=1e-9)
        each = each - spikes * (each.sum((0, 2)) / n)[:, None]
    return _give(votes, lengths, _half(steps, delta), each, gradient)


@LOSSES.register
def ce_plus(
    votes: Tensor, target: Tensor, lengths: Tensor, *, gradient: Gradient = "spikes"
) -> Tensor:
    """Cross-entropy of 2 count/T (-20 for silent neurons), its gradient shared among the spikes.

    L = T/2 CE; a sample whose label neuron is silent gives none. Zhu et al., NeurIPS 2023 (CE+).
    """
    spikes = _spikes(votes.detach(), lengths, "ce_plus")
    counts, steps = spikes.sum(0), _steps(votes, lengths)
    logits = torch.where(counts > 0, 2 * counts / steps, -20.0)
    by_logit = steps / 2 * (logits.softmax(1) - target)
    heard = counts.gather(1, target.argmax(1, keepdim=True)) > 0
    each = torch.where((counts > 0) & heard, by_logit / logits, 0) * spikes
    value = steps[:, 0] / 2 * functional.cross_entropy(logits, target, reduction="none")
    return _give(votes, lengths, value, each, gradient)


@LOSSES.register
def kernel(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: NotNegative = 10.0, undesired: NotNegative = 1.0,
    tau: Annotated[float, Range(1)] = 4.0, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """Half the squared difference of filtered spikes and evenly spaced target spikes.

    The filter is exponential, u = u (1 - 1/tau) + spike, times 1/tau. Zhu et al., NeurIPS 2023.
    """
    wanted, real = _wanted(votes, target, desired, undesired), _real(votes, lengths)
    u = torch.zeros_like(votes[0])
    value = u[:, 0]
    difference = _spikes(votes, lengths, "kernel") - _train(wanted, votes, lengths)
    for now, counts in zip(difference, real, strict=True):
        u = u * (1 - 1 / tau) + now
        value = value + (u / tau * counts).square().sum(1) / 2
    if gradient == "spikes":
        return value.mean()
    (slope,) = torch.autograd.grad(value.sum(), votes)
    return _give(votes, lengths, value, slope, gradient)


def _train(wanted: Tensor, votes: Tensor, lengths: Tensor) -> Tensor:
    """Spike trains (T, N, classes) with so many spikes, evenly spaced, the last one at the end."""
    steps, real = _steps(votes, lengths), _real(votes, lengths)
    t = torch.arange(1, len(votes) + 1, device=wanted.device)[:, None, None]
    share = wanted.minimum(steps) / steps
    return ((t * share + 1e-4).floor() - ((t - 1) * share + 1e-4).floor()) * real


@LOSSES.register
def timing(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    desired: Count = 10, undesired: Count = 1, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """The i-th spike of a neuron against its i-th target time: (t - t_target + 1/2)/T, halved.

    Of the label's neuron only late spikes cost, of others only early ones, those by 1/sqrt(classes)
    of it. A spike that is missing counts as at T + 1, and its gradient goes to the last step.
    Zhu et al., NeurIPS 2023 (timing).
    """
    spikes = (_spikes(votes.detach(), lengths, "timing") > 0).to(votes.dtype)
    steps, label = _steps(votes, lengths), _is_label(target)
    wanted = _train(_wanted(votes, target, desired, undesired), votes, lengths)
    number, wish = spikes.cumsum(0), wanted.cumsum(0)
    each = torch.zeros_like(votes)
    value = each[0, :, 0]
    for i in range(1, max(desired, undesired) + 1):
        fired, due = (number == i) & (spikes > 0), (wish == i) & (wanted > 0)
        place = _first(fired, steps)
        t = torch.where(fired.any(0), place, steps)
        delta = torch.where(due.any(0), (t - _first(due, steps) + 0.5) / steps, 0)
        late, early = delta.clamp(min=0), delta.clamp(max=0) / votes.shape[-1] ** 0.5
        delta = torch.where(label, late, early)
        each.scatter_add_(0, place[None].long(), -delta[None])
        value = value + delta.square().sum(1) / 2
    return _give(votes, lengths, value, each, gradient)


def _first(spikes: Tensor, steps: Tensor) -> Tensor:
    """The step, from 0, of the first spike along time; the last one of the sample without any."""
    return torch.where(spikes.any(0), spikes.float().argmax(0), steps - 1)


def _is_label(target: Tensor) -> Tensor:
    return functional.one_hot(target.argmax(1), target.shape[1]).bool()


@LOSSES.register
def ttfs(
    votes: Tensor, target: Tensor, lengths: Tensor, *,
    silent: Annotated[float, Range(high=0)] = -3.0, gradient: Gradient = "spikes",
) -> Tensor:  # fmt: skip
    """Cross-entropy of the times to first spike: the score is 1 - t/T, `silent` without a spike.

    L = T CE. The gradient goes to the first spike only, that of a silent label to the last step, as
    nothing else would wake it. The net may answer at its first spike. Zhu et al., NeurIPS 2023.
    """
    spikes = _spikes(votes.detach(), lengths, "ttfs") > 0
    steps, fires = _steps(votes, lengths), spikes.any(0)
    first = _first(spikes, steps)
    score = torch.where(fires, 1 - (first + 1) / steps, silent)
    slope = torch.where(fires | _is_label(target), score.softmax(1) - target, 0)
    each = torch.zeros_like(votes).scatter_(0, first[None].long(), slope[None])
    value = steps[:, 0] * functional.cross_entropy(score, target, reduction="none")
    return _give(votes, lengths, value, each, gradient)
