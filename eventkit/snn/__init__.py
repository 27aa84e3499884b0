"""Spiking neurons and the layers around them, over sequences (T, N, ...)."""

from .layers import Dropout, Fold, Halve, SumPool2d, Voting
from .neurons import IF, LIF, PLIF, Neuron, carry, integrate, neuron
from .surrogate import Surrogate, spike

__all__ = [
    "IF",
    "LIF",
    "PLIF",
    "Dropout",
    "Fold",
    "Halve",
    "Neuron",
    "SumPool2d",
    "Surrogate",
    "Voting",
    "carry",
    "integrate",
    "neuron",
    "spike",
]
