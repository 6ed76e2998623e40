"""Small models of every kind that is served, or refused for a reason: what the tests and the long run are made of."""

from tests.zoo.families import FAMILIES, SITES, build

__all__ = ["FAMILIES", "SITES", "build"]
