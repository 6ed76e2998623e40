"""The engine: find where a Keras model draws noise, run what no noise reaches once, draw passes from a seed."""

from thinned.models.dropout.batching import BatchItem, Frontier
from thinned.models.dropout.example_rows import ExampleRows, example_inputs, find_examples, given_examples
from thinned.models.dropout.inserted_dropout import insert_dropout, inserted_notes
from thinned.models.dropout.joined_outputs import join_heads
from thinned.models.dropout.keras_draws import check_against_keras
from thinned.models.dropout.monte_carlo_run import MonteCarloRun, complete
from thinned.models.dropout.noise.noise_context import Draw
from thinned.models.dropout.partition.signature import OutputSignature, read_signature
from thinned.models.dropout.self_check import ALL_THE_SAME, check_laws, check_rows, check_untouched, check_weights
from thinned.models.dropout.sites.custom_noise import register_noise
from thinned.models.dropout.stochastic_model import StochasticModel, enable_mc_dropout

__all__ = [
    "ALL_THE_SAME",
    "BatchItem",
    "Draw",
    "ExampleRows",
    "Frontier",
    "MonteCarloRun",
    "OutputSignature",
    "StochasticModel",
    "check_against_keras",
    "check_laws",
    "check_rows",
    "check_untouched",
    "check_weights",
    "complete",
    "enable_mc_dropout",
    "example_inputs",
    "find_examples",
    "given_examples",
    "insert_dropout",
    "inserted_notes",
    "join_heads",
    "read_signature",
    "register_noise",
]
