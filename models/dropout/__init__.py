"""Monte Carlo dropout for Keras models: find the sites, arm them, draw passes."""

from thinned.models.dropout.batching import Ask, Frontier
from thinned.models.dropout.block_reduction import Summary
from thinned.models.dropout.noise.noise_context import Draw
from thinned.models.dropout.noise.samplers import BLOCK, Sampling
from thinned.models.dropout.partition.signature import OutputSignature
from thinned.models.dropout.pieces import Passes, Summaries
from thinned.models.dropout.self_check import check_laws, check_untouched, example_inputs
from thinned.models.dropout.sites.noise_layers import register_noise
from thinned.models.dropout.stochastic_model import StochasticModel, enable_mc_dropout

__all__ = [
    "BLOCK",
    "StochasticModel",
    "Ask",
    "Frontier",
    "OutputSignature",
    "Draw",
    "Passes",
    "Sampling",
    "Summaries",
    "Summary",
    "enable_mc_dropout",
    "example_inputs",
    "check_laws",
    "check_untouched",
    "register_noise",
]
