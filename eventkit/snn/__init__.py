"""Spiking neurons and the layers around them, over sequences (T, N, ...)."""

from .layers import Dropout, Fold, Halve, SumPool2d, Voting
from .neurons import NEURONS, Neuron, carry, neuron
from .neurons.leaky import IF, LIF, PLIF, integrate
from .neurons.parallel import PSN, MaskedPSN, SlidingPSN
from .surrogate import SURROGATES, Surrogate, spike

__all__ = [
    "IF",
    "LIF",
    "NEURONS",
    "PLIF",
    "PSN",
    "SURROGATES",
    "Dropout",
    "Fold",
    "Halve",
    "MaskedPSN",
    "Neuron",
    "SlidingPSN",
    "SumPool2d",
    "Surrogate",
    "Voting",
    "carry",
    "integrate",
    "neuron",
    "spike",
]
