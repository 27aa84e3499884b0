"""Spiking neurons and the layers around them, over sequences (T, N, ...)."""

from .attention import DrivenAttention, Patches, SelfAttention, TokenAttention
from .layers import Dropout, Fold, Halve, SumPool2d, Voting, anneal, conv_norm
from .neurons import NEURONS, Neuron, carry, neuron
from .neurons.leaky import IF, LIF, PLIF, integrate
from .neurons.parallel import PSN, MaskedPSN, SlidingPSN
from .norm import TDBN2d, TEBN2d
from .sew import SEW, Connect, start_as_identity
from .surrogate import SURROGATES, Surrogate, spike

__all__ = [
    "IF",
    "LIF",
    "NEURONS",
    "PLIF",
    "PSN",
    "SEW",
    "SURROGATES",
    "Connect",
    "DrivenAttention",
    "Dropout",
    "Fold",
    "Halve",
    "MaskedPSN",
    "Neuron",
    "Patches",
    "SelfAttention",
    "SlidingPSN",
    "SumPool2d",
    "Surrogate",
    "TDBN2d",
    "TEBN2d",
    "TokenAttention",
    "Voting",
    "anneal",
    "carry",
    "conv_norm",
    "integrate",
    "neuron",
    "spike",
    "start_as_identity",
]
