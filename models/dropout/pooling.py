"""The outputs of an ensemble: those that its Keras model gives, member by member, and those that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.dropout.partition.signature import OutputSignature
from thinned.models.errors import UnsupportedModelError
from thinned.models.sampling import Made
from thinned.models.uncertainty import BlockStatistics
from thinned.models.uncertainty.members import PoolRule, gathered, made_together, pooled_answer, rule_of

__all__ = ["Pooling", "member_name"]

Array = npt.NDArray[Any]


def member_name(place: int) -> str:
    """The name of a member's model inside that of the ensemble."""
    return f"member_{place + 1}"


@dataclass(frozen=True)
class Pooling:
    """How many members there are, and by the name of each output what is averaged of it.

    The Keras model gives all outputs of the first member, then all of the second, each in the order of `rules`.
    """

    members: int
    rules: Mapping[str, PoolRule]

    @classmethod
    def of(cls, outputs: Sequence[OutputSpec]) -> Pooling | None:
        """That of a card's outputs; None where they are no ensemble's."""
        if outputs[0].members == 1:
            return None
        return cls(outputs[0].members, {spec.name: rule_of(spec) for spec in outputs})

    @property
    def owners(self) -> list[str]:
        """For each output of the Keras model that of the ensemble which it is a part of."""
        return [name for _ in range(self.members) for name in self.rules]

    def apart(self, outputs: Sequence[OutputSignature]) -> tuple[OutputSignature, ...]:
        """The outputs of the Keras model, by names that say whose they are.

        Raises:
            UnsupportedModelError: There are more or fewer than members have.
        """
        if len(outputs) != len(self.owners):
            raise UnsupportedModelError(
                f"the model has {len(outputs)} outputs, and {self.members} members of {len(self.rules)} outputs each "
                f"have {len(self.owners)}; make the ensemble again (thinned ensemble)"
            )
        each = len(self.rules)
        return tuple(
            replace(output, name=f"{owner} of {member_name(i // each)}")
            for i, (output, owner) in enumerate(zip(outputs, self.owners, strict=True))
        )

    def together(self, outputs: Sequence[OutputSignature]) -> tuple[OutputSignature, ...]:
        """The outputs of the ensemble, as the first member has them."""
        each = len(self.rules)
        return tuple(
            replace(outputs[i], name=name, noise_behind=any(output.noise_behind for output in outputs[i::each]))
            for i, name in enumerate(self.rules)
        )

    def answers(self, answers: Mapping[str, Array]) -> dict[str, Array]:
        """The deterministic answers as one."""
        parts = list(answers.values())
        return {
            name: pooled_answer(np.stack(parts[i :: len(self.rules)]), rule)
            for i, (name, rule) in enumerate(self.rules.items())
        }

    def statistics(self, part: Mapping[str, BlockStatistics], silent: Sequence[bool]) -> dict[str, BlockStatistics]:
        """The statistics of all members, by output of the ensemble.

        Args:
            part: Those of the Keras model's outputs.
            silent: Of each of these whether no noise reaches it.
        """
        parts, made = list(part.values()), self.made([one.made for one in part.values()], silent)
        return {name: gathered(parts[i :: len(self.rules)], made[i]) for i, name in enumerate(self.rules)}

    def made(self, made: Sequence[Made], silent: Sequence[bool]) -> list[Made]:
        """What mean and variance of each output are made of."""
        heard = [None if quiet else one for one, quiet in zip(made, silent, strict=True)]
        return [made_together(heard[i :: len(self.rules)]) for i in range(len(self.rules))]
