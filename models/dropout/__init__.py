"""Monte Carlo dropout for Keras models: find the sites, arm them, draw passes."""

from models.dropout.armed import ArmedModel, arm
from models.dropout.draws import Draw
from models.dropout.interface import ArmedOutput
from models.dropout.kinds import register_noise
from models.dropout.pieces import Passes, Summaries
from models.dropout.proof import example_inputs, prove, prove_untouched
from models.dropout.sampling import BLOCK, Sampling
from models.dropout.summaries import Summary
from models.dropout.together import Ask, Frontier

__all__ = [
    "BLOCK",
    "ArmedModel",
    "Ask",
    "Frontier",
    "ArmedOutput",
    "Draw",
    "Passes",
    "Sampling",
    "Summaries",
    "Summary",
    "arm",
    "example_inputs",
    "prove",
    "prove_untouched",
    "register_noise",
]
