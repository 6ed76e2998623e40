"""Monte Carlo dropout for Keras models: find the sites, arm them, draw passes."""

from models.dropout.armed import ArmedModel, Block, arm
from models.dropout.draws import Draw
from models.dropout.interface import ArmedOutput
from models.dropout.kinds import register_noise
from models.dropout.proof import example_inputs, prove, prove_untouched

__all__ = [
    "ArmedModel",
    "ArmedOutput",
    "Block",
    "Draw",
    "arm",
    "example_inputs",
    "prove",
    "prove_untouched",
    "register_noise",
]
