"""Spiking neurons and the layers around them, over sequences (T, N, ...)."""

from .attention import DrivenAttention, Patches, SelfAttention, TokenAttention
from .conversion import Repeated, average_pooling, balance, to_spiking
from .delays import DelayedLinear, final_delays
from .folding import fold_norm, fold_norms
from .fuse import Fused, fuse
from .layers import Dropout, Fold, Halve, SumPool2d, Voting, anneal, conv_norm
from .neurons import NEURONS, Neuron, carry, carry_over, neuron, run
from .neurons.activation import QCFS, ReLU
from .neurons.adaptive import AdLIF, CSiLIF, SEAdLIF, SiLIF
from .neurons.gated import GLIF, KLIF
from .neurons.group import GroupNeuron
from .neurons.leaky import CUBA, IF, LIF, PLIF, LIFNoReset, integrate
from .neurons.parallel import PSN, MaskedPSN, SlidingPSN
from .norm import TDBN2d, TEBN2d
from .recurrent import LeakyIntegrator, Recurrent
from .saving import checkpointed, packed_spikes
from .sew import SEW, Connect, start_as_identity
from .surrogate import SURROGATES, Surrogate, spike

__all__ = [
    "CUBA",
    "GLIF",
    "IF",
    "KLIF",
    "LIF",
    "NEURONS",
    "PLIF",
    "PSN",
    "QCFS",
    "SEW",
    "SURROGATES",
    "AdLIF",
    "CSiLIF",
    "Connect",
    "DelayedLinear",
    "DrivenAttention",
    "Dropout",
    "Fold",
    "Fused",
    "GroupNeuron",
    "Halve",
    "LIFNoReset",
    "LeakyIntegrator",
    "MaskedPSN",
    "Neuron",
    "Patches",
    "ReLU",
    "Recurrent",
    "Repeated",
    "SEAdLIF",
    "SelfAttention",
    "SiLIF",
    "SlidingPSN",
    "SumPool2d",
    "Surrogate",
    "TDBN2d",
    "TEBN2d",
    "TokenAttention",
    "Voting",
    "anneal",
    "average_pooling",
    "balance",
    "carry",
    "carry_over",
    "checkpointed",
    "conv_norm",
    "final_delays",
    "fold_norm",
    "fold_norms",
    "fuse",
    "integrate",
    "neuron",
    "packed_spikes",
    "run",
    "spike",
    "start_as_identity",
    "to_spiking",
]
