"""`thinned.load`: a stored model in Python, asked as the service is, without a server.

Requests are read by the service's own reader, without its limits, and answered from the same passes: what `predict`
says is what `thinned predict` and `/predict_mc` say to the same rows, passes and seed.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import InputError, Problem
from thinned.models.sampling import Estimator, Sampling, draw_seed
from thinned.models.storage.model_store import StoredModel, find
from thinned.service.inference.answers import answers_of, document_of, draw_alone
from thinned.service.notebook.answer import Answer, html_of, text_of
from thinned.service.notebook.described_model import notes_on, tables_of
from thinned.service.notebook.given_rows import Table, arrays_of, is_frame
from thinned.service.schema.request_fields import SampleRequest, read_predict, read_predict_mc
from thinned.service.schema.response_body import predict_answer
from thinned.service.settings import Settings

if TYPE_CHECKING:
    from thinned.models.uncertainty.nearest_rows import OodScores
    from thinned.service.notebook.drawing import Drawing

__all__ = ["LoadedModel", "load"]

Array = npt.NDArray[Any]
NO_LIMIT = 2**63
MOST_SAMPLES = 10**9
_LIMITS = ("max_rows", "max_length", "max_row_passes", "max_returned_numbers")


class PassOptions(TypedDict, total=False):
    """What an answer over passes may be asked for: `LoadedModel.summary` says what each is."""

    n_samples: int | None
    seed: int | None
    sampling: Sampling | None
    estimator: Estimator | None
    tolerance: float | None
    budget_ms: float | None
    coverage: float | None
    quantiles: Sequence[float] | None
    separate: bool | None
    calibrated: bool | None
    policy: bool | None


def load(name: str) -> LoadedModel:
    """Load a model from the store, which takes seconds: TensorFlow is imported, and the model's graphs are traced.

    Args:
        name: "name", "name:version" or "name@alias", as `thinned models` lists them.

    Raises:
        ModelNotFoundError: There is no such model; the text lists what there is.
        ModelCorruptError: A stored file is not the one that was imported.
        UnsupportedModelError: It cannot be loaded here, for instance after an update of Keras.
    """
    if not isinstance(name, str):
        raise InputError([Problem(("name",), f"expected the name of a stored model, received {type(name).__name__}")])
    stored = find(name)
    import_tensorflow()
    return LoadedModel(stored)


class LoadedModel:
    """A stored model. Rows are arrays, nested lists, a mapping from inputs to these, records, or a pandas DataFrame.

    Args:
        stored: The model in the store.

    Attributes:
        card: What is known of it: inputs, outputs, sites, calibration.
        version: Its version in the store.
        stochastic: The `StochasticModel` that answers; its `keras_model` is the model of Keras.
    """

    def __init__(self, stored: StoredModel) -> None:
        from thinned.models.loading import load_scorer, load_stored

        self.card, self.version = stored.card, stored.version
        self.stochastic = load_stored(stored)
        self._scorer = load_scorer(stored, self.stochastic)

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self.card.name

    @overload
    def predict(self, rows: Table, *, ood: bool = False, **options: Unpack[PassOptions]) -> Any: ...

    @overload
    def predict(self, rows: Any, *, ood: bool = False, **options: Unpack[PassOptions]) -> Answer: ...

    def predict(self, rows: Any, *, ood: bool = False, **options: Unpack[PassOptions]) -> Any:
        """Answer rows: without options deterministically, as `/predict` does; with one over passes, as `/predict_mc`.

        Args:
            rows: B rows.
            ood: Of a model that was calibrated with `--ood`: how unlike known rows each row is.
            options: Those of `summary`. Any of them but None asks for passes.

        Returns:
            An `Answer`. To a DataFrame a DataFrame with its index, in the columns that `thinned predict --output`
            writes.

        Raises:
            InputError: Rows or options do not fit; says which and why.
            NoSitesError: Passes are asked for of a model that draws no noise.
            CalibrationError: It is not calibrated for what is asked.
            AnswerNotFiniteError: It answered NaN or infinity.
            UsageError: The rows are a DataFrame and pandas cannot be used.
        """
        if any(value is not None for value in options.values()):
            answer = self.summary(rows, ood=ood, **options)
        else:
            document = {"inputs": arrays_of(rows, self.card.inputs), "ood": ood}
            request = read_predict(document, self.card, self._settings(at_most=False))
            outputs, unlike = self.stochastic.predict(request.inputs), self._unlike(request.inputs, ood)
            fields = predict_answer(outputs, self.card, self.version, max_numbers=NO_LIMIT, ood=unlike)
            answer = Answer(fields, self.card, index=_index_of(rows), ood=unlike)
        return answer.to_frame() if is_frame(rows) else answer

    def summary(
        self,
        rows: Any,
        *,
        n_samples: int | None = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
        estimator: Estimator | None = None,
        tolerance: float | None = None,
        budget_ms: float | None = None,
        coverage: float | None = None,
        quantiles: Sequence[float] | None = None,
        separate: bool | None = None,
        calibrated: bool | None = None,
        policy: bool | None = None,
        ood: bool = False,
    ) -> Answer:
        """Answer rows over passes. The options are the fields of `/predict_mc` (docs/api.md), None for its default.

        Args:
            rows: B rows.
            n_samples: Passes; with a tolerance or a budget the most there may be.
            seed: Integer in [0, 2**53); one is drawn where there is none, and told.
            sampling: "stratified" or "independent".
            estimator: "best" or "passes": how mean and variance are made.
            tolerance: Stop where the standard errors of every row are below this, in the outputs' units.
            budget_ms: Stop after so many milliseconds.
            coverage: Of a calibrated model, of the intervals or sets to answer, in (0, 1).
            quantiles: Levels in (0, 1) of quantiles over passes.
            separate: Whether to give the parts of the variance.
            calibrated: Whether means and entropies have the fitted temperature; by default where there is one.
            policy: Whether to say which rows to accept.
            ood: Whether to say how unlike known rows each row is.

        Returns:
            An `Answer`, also to a DataFrame, whose index it has.

        Raises:
            InputError: Rows or options do not fit; says which and why.
            NoSitesError: The model draws no noise.
            CalibrationError: It is not calibrated for what is asked.
            AnswerNotFiniteError: A pass is NaN or infinite.
        """
        options = {
            "n_samples": n_samples,
            "seed": draw_seed() if seed is None else seed,
            "sampling": sampling,
            "estimator": estimator,
            "tolerance": tolerance,
            "budget_ms": budget_ms,
            "coverage": coverage,
            "quantiles": quantiles,
            "separate": separate,
            "calibrated": calibrated,
            "policy": policy,
            "ood": ood,
        }
        request = self._request(rows, options)
        unlike = self._unlike(request.inputs, request.ood)
        run = draw_alone(request, self.stochastic)
        answers = answers_of(run, request, self.card)
        fields = document_of(answers, run, request, self.card, self.version, ood=unlike, max_numbers=NO_LIMIT)
        levels = request.quantiles or ()
        return Answer(fields, self.card, index=_index_of(rows), by_output=answers, levels=levels, ood=unlike)

    def sample(
        self, rows: Any, *, n_samples: int | None = None, seed: int | None = None, sampling: Sampling | None = None
    ) -> Any:
        """The passes themselves. Pass s is one thinned network that sees every row: rows of a pass belong together.

        Args:
            rows: B rows.
            n_samples: S.
            seed: As for `summary`, as are sampling and errors.
            sampling: How passes relate to each other.

        Returns:
            An array (S, B, *output_shape), float32; a dict of them by output where the model has several. To a
            DataFrame a DataFrame with a line for each row in each pass, indexed by the pass and then as the rows are.
            Of an ensemble of M members S is S * M.

        Raises:
            InputError: Rows or options do not fit.
            NoSitesError: The model draws no noise.
        """
        passes = self._passes(rows, n_samples, seed, sampling)
        if is_frame(rows):
            from thinned.service.notebook.frames import passes_frame

            return passes_frame(passes, self.card, _index_of(rows))
        return passes if len(passes) > 1 else next(iter(passes.values()))

    def plot(
        self, rows: Any, *, n_samples: int | None = None, seed: int | None = None, sampling: Sampling | None = None
    ) -> Drawing:
        """Draw what the model says of the first rows: each pass a faint dot, the mean bold with its deviation.

        Arguments and errors are those of `sample`.

        Raises:
            UsageError: matplotlib is not installed.
        """
        seed = draw_seed() if seed is None else seed
        answer = self.summary(rows, n_samples=n_samples, seed=seed, sampling=sampling, calibrated=None)
        return answer.plot(self._passes(rows, n_samples, seed, sampling))

    def __repr__(self) -> str:
        return text_of(tables_of(self.card), notes_on(self.card, self.version))

    def _repr_html_(self) -> str:
        return html_of(tables_of(self.card), notes_on(self.card, self.version))

    def _passes(
        self, rows: Any, n_samples: int | None, seed: int | None, sampling: Sampling | None
    ) -> Mapping[str, Array]:
        seed = draw_seed() if seed is None else seed
        options = {"n_samples": n_samples, "seed": seed, "sampling": sampling, "return_samples": True}
        return draw_alone(self._request(rows, {**options, "estimator": "passes"}), self.stochastic).passes

    def _request(self, rows: Any, options: Mapping[str, object]) -> SampleRequest:
        """The request, checked as the service checks it."""
        self.stochastic.require_passes()
        inputs = arrays_of(rows, self.card.inputs)
        asked = {name: _as_json(value) for name, value in options.items() if value is not None}
        adaptive = not {"tolerance", "budget_ms"}.isdisjoint(asked)
        at_limit = adaptive and "n_samples" not in asked
        return read_predict_mc({"inputs": inputs, **asked}, self.card, self._settings(at_most=at_limit))

    def _settings(self, *, at_most: bool) -> Settings:
        """The service's settings without its limits, but for the passes of a request that names only a tolerance."""
        found = Settings.read()
        samples = found.max_samples if at_most else MOST_SAMPLES
        return found.model_copy(update={**dict.fromkeys(_LIMITS, NO_LIMIT), "max_samples": samples})

    def _unlike(self, inputs: Mapping[str, Array], asked: bool) -> OodScores | None:
        """How unlike known rows these are; the request was refused where nothing tells."""
        return self._scorer.of_rows(self.stochastic, inputs) if asked and self._scorer is not None else None


def _index_of(rows: Any) -> Any:
    return rows.index if is_frame(rows) else None


def _as_json(value: Any) -> object:
    """An option as JSON would have it: NumPy's numbers as Python's, arrays and tuples as lists."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return list(map(_as_json, value))
    if isinstance(value, bool | int | float | str):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value
