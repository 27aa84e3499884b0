"""Surrogate gradients: every slope is its published formula, and a spike is a step."""

import math

import pytest

pytest.importorskip("torch")

import torch

from eventkit.errors import OptionError
from eventkit.snn import spike
from eventkit.snn.surrogate import SURROGATES, parse

FORMULAS = {
    "atan:alpha=3": lambda x: 1.5 / (1 + (math.pi / 2 * 3 * x) ** 2),
    "sigmoid:alpha=3": lambda x: 3 / (1 + math.exp(-3 * x)) * (1 - 1 / (1 + math.exp(-3 * x))),
    "piecewise_quadratic:alpha=0.5": lambda x: max(0, 0.5 - 0.25 * abs(x)),
    "triangle:gamma=2": lambda x: max(0, 2 - abs(x)) / 4,
    "piecewise_exp:alpha=3": lambda x: 1.5 * math.exp(-3 * abs(x)),
    "slayer": lambda x: 0.4 * 2.5 * math.exp(-5 * abs(x)),
    "soft_sign:alpha=3": lambda x: 1 / (6 * (1 / 3 + abs(x)) ** 2),
    "super_spike:alpha=3": lambda x: 3 / (abs(x) + 1) ** 2,
    "erf:alpha=3": lambda x: 3 / math.sqrt(math.pi) * math.exp(-9 * x * x),
    "boxcar": lambda x: 0.5 if abs(x) <= 0.5 else 0.0,
    "rectangle:width=0.5": lambda x: 2.0 if abs(x) <= 0.25 else 0.0,
}


@pytest.mark.parametrize("spec", FORMULAS)
def test_slope_is_the_published_formula(spec):
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    expected = torch.tensor([FORMULAS[spec](float(value)) for value in x], dtype=torch.float64)
    torch.testing.assert_close(parse(spec).slope(x), expected)


def test_every_surrogate_has_its_formula_here():
    assert {spec.partition(":")[0] for spec in FORMULAS} == set(SURROGATES)


def test_spike_is_a_step_with_the_slope_as_gradient():
    x = torch.tensor([-1.0, -0.0, 0.0, 0.5], requires_grad=True)
    spikes = spike(x, parse("triangle"))
    assert spikes.tolist() == [0, 1, 1, 1]
    spikes.backward(torch.tensor([1.0, 1.0, 2.0, 2.0]))
    assert x.grad.tolist() == [0, 1, 2, 1]


def test_unknown_options_name_the_known_ones():
    with pytest.raises(OptionError, match="atan has no option 'alfa'"):
        parse("atan:alfa=2")
