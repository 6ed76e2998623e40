"""The stages of the UCI study on one set: train a grid of rates, choose rate and noise, train again, score."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.studies.uci_checkpoint import TrainingClock, load_arrays, read_value, save_arrays, write_value
from thinned.loadtest.studies.uci_data import Fold, UciSet, same_length

if TYPE_CHECKING:
    from thinned.loadtest.studies.uci_networks import Networks
    from thinned.loadtest.studies.uci_scores import NetworkSampler

__all__ = ["RATES", "OnProgress", "SetRun", "UciOptions"]

RATES = (0.005, 0.01, 0.05, 0.1)
NOISES = np.logspace(-4.5, 0.5, 61)
"""Variances of the noise that are tried, in units of the variance of the training targets."""
TYPICAL_NOISE = 0.05
LENGTH_SCALE = 1e-2
BATCH = 128
VALIDATION_WORK = 400_000
"""Largest number of held-out rows times passes when the rate and the noise of one network are chosen."""
_SAVE_EVERY_S = 20
_STEPS_PER_CALL = 400

OnProgress = Callable[[str, float], None]
"""Called with what is being done, and the share of it that is done, in [0, 1]."""


@dataclass(frozen=True)
class UciOptions:
    """Options of the study.

    Args:
        out: Folder for states and results.
        epochs: Largest number of epochs.
        minutes: Longest training of a set; where the machine is too slow for all epochs, there are fewer.
        passes: Passes of a test score.
        validation_passes: Largest number of passes when rate and noise are chosen.
        splits: Number of splits, from the first on; None for all.
        seed: Of training and passes.
    """

    out: Path
    epochs: int = 8000
    minutes: float = 7.0
    passes: int = 10_000
    validation_passes: int = 1000
    splits: int | None = None
    seed: int = 1


class SetRun:
    """The stages of one set. Each reads what an earlier run wrote to `folder` and resumes from there.

    Args:
        data: The set.
        options: Options of the study.
        on_progress: Called with what is being done, and the share of it that is done.
    """

    def __init__(self, data: UciSet, options: UciOptions, on_progress: OnProgress) -> None:
        self._data = data
        self._options = options
        self._on_progress = on_progress
        self.folder = options.out / data.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = _key(data, options)
        self.clock = TrainingClock(self.folder / "clock.json", self.key)

    def train(self, stage: str, folds: Sequence[Fold], rates: npt.NDArray[np.float32], share: float) -> Networks:
        """Train networks to the last epoch, saving the state now and then.

        Args:
            stage: Name of the stage and of its file.
            folds: The rows of each network, F.
            rates: Dropout rates, (P, F).
            share: Share of `options.minutes` that this stage may take.
        """
        from thinned.loadtest.studies.uci_networks import Networks, TrainingPlan

        options, data = self._options, self._data
        parts = [fold.standardised() for fold in folds]
        x, y = (same_length([part[i] for part in parts]).astype(np.float32) for i in (0, 1))
        noise = np.array([TYPICAL_NOISE * fold.target_scale[1] ** 2 for fold in folds])
        decay = (LENGTH_SCALE**2 * (1 - rates) * noise / (2 * x.shape[1])).astype(np.float32)
        plan = TrainingPlan(x, y, rates, decay, data.hidden, BATCH, options.seed)
        path = self.folder / f"{stage}.npz"
        networks = Networks(plan, load_arrays(path, self.key))
        epochs = self.clock.epochs.get(stage)
        if epochs is None:
            epochs = self.clock.epochs[stage] = _affordable_epochs(networks, options, share)
        saved = time.monotonic()
        while networks.epoch < epochs:
            networks.train(min(max(1, _STEPS_PER_CALL // plan.steps), epochs - networks.epoch))
            self._on_progress(f"{data.name}: training, {stage}", networks.epoch / epochs)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                self._save(path, networks)
                saved = time.monotonic()
        self._save(path, networks)
        return networks

    def _save(self, path: Path, networks: Networks) -> None:
        save_arrays(path, self.key, networks.state())
        self.clock.save()

    def choose(
        self, networks: Networks, folds: Sequence[Fold], sampler: NetworkSampler
    ) -> tuple[list[float], list[float]]:
        """For each fold, the dropout rate and the noise variance of greatest log-likelihood on its held-out rows."""
        from thinned.loadtest.studies.uci_scores import score

        path = self.folder / "choice.json"
        if (stored := read_value(path, self.key)) is not None:
            return stored["rates"], stored["noises"]
        rates, noises = [], []
        held = max(len(fold.y_held) for fold in folds)
        count = min(self._options.validation_passes, max(100, VALIDATION_WORK // held))
        for number, fold in enumerate(folds):
            self._on_progress("choosing rates and noises", number / len(folds))
            variances = NOISES * fold.target_scale[1] ** 2
            likelihoods = []
            for i, rate in enumerate(RATES):
                weights = networks.weights(i, number)
                _, each = score(sampler, rate, weights, fold, 1 / variances, count=count, seed=self._options.seed)
                likelihoods.append(each)
            grid = np.array(likelihoods)
            best_rate, best_noise = np.unravel_index(grid.argmax(), grid.shape)
            rates.append(RATES[int(best_rate)])
            noises.append(float(variances[int(best_noise)]))
        write_value(path, self.key, {"rates": rates, "noises": noises})
        return rates, noises

    def score(
        self,
        networks: Networks,
        folds: Sequence[Fold],
        rates: Sequence[float],
        noises: Sequence[float],
        sampler: NetworkSampler,
    ) -> list[Any]:
        """The `Score` of each fold's network on its held-out rows."""
        from thinned.loadtest.studies.uci_scores import score

        options = self._options
        scores = []
        for number, (fold, rate, noise) in enumerate(zip(folds, rates, noises, strict=True)):
            self._on_progress(f"scoring with {options.passes} passes", number / len(folds))
            tau = np.array([1 / noise])
            weights = networks.weights(0, number)
            scores.append(score(sampler, rate, weights, fold, tau, count=options.passes, seed=options.seed)[0])
        return scores


def _affordable_epochs(networks: Networks, options: UciOptions, share: float) -> int:
    """Number of epochs that fit the time of a stage, from the speed of the first ten."""
    networks.train(min(2, options.epochs))  # not timed: the first call includes one-off work
    began = time.monotonic()
    networks.train(min(8, max(0, options.epochs - networks.epoch)))
    each = (time.monotonic() - began) / 8
    return min(options.epochs, max(networks.epoch, int(share * options.minutes * 60 / max(each, 1e-9))))


def _key(data: UciSet, options: UciOptions) -> str:
    """Settings that a stored state must have been made with."""
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "minutes")}
    return json.dumps({**asked, "rows": len(data.y), "splits": len(data.train), "hidden": data.hidden, "rates": RATES})
