"""Spiking neurons and the layers around them, over sequences (T, N, ...)."""

from .attention import DrivenAttention, Patches, SelfAttention, TokenAttention
from .delays import DelayedLinear, final_delays
from .layers import Dropout, Fold, Halve, SumPool2d, Voting, anneal, conv_norm
from .neurons import NEURONS, Neuron, carry, neuron
from .neurons.leaky import IF, LIF, PLIF, integrate
from .neurons.parallel import PSN, MaskedPSN, SlidingPSN
from .norm import TDBN2d, TEBN2d
from .recurrent import LeakyIntegrator, Recurrent
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
    "DelayedLinear",
    "DrivenAttention",
    "Dropout",
    "Fold",
    "Halve",
    "LeakyIntegrator",
    "MaskedPSN",
    "Neuron",
    "Patches",
    "Recurrent",
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
    "final_delays",
    "integrate",
    "neuron",
    "spike",
    "start_as_identity",
]
