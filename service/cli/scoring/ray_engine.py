"""Scores the parts of a run on a Ray cluster, by Ray Data: which actor has which part, and when, is Ray's business.

An item of the Ray data set is a part: its place in the files, not its rows. An actor reads the rows itself, answers and
writes them. Ray does a part again where the actor or its node was lost, and the file of a part that was done twice is
the same: nothing is lost, and nothing is there twice.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from thinned.models.errors import InputError, Problem, ThinnedError, UsageError
from thinned.service.cli.options import require_extra
from thinned.service.cli.scoring.data_set import Part
from thinned.service.cli.scoring.run import Run
from thinned.service.cli.scoring.scorer import Scored, Scorer
from thinned.service.inference.threads import set_threads

__all__ = ["score_on_ray"]

_IN_FLIGHT = 2
"""Parts that an actor has at a time, one of them waiting. A part has a bounded number of row-passes, and so has what
all actors together have been given."""
_PASSED_ON = ("BENTOML_HOME", "PYTHONPATH")


class _Actor:
    """Loads the model when it is made, and scores parts."""

    def __init__(self, run: Run) -> None:
        self._scorer: Scorer | None = None
        self._wrong: dict[str, Any] | None = None
        set_threads(1)  # An actor asks Ray for one CPU.
        try:
            self._scorer = Scorer(run)
        except Exception as error:
            self._wrong = _told(error)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        # What is wrong is an answer too: Ray would do an error that a person must mend again and again.
        if self._scorer is None:
            return {"number": -1, "rows": 0, "rejected": 0, **(self._wrong or {})}
        try:
            scored = self._scorer.score(Part(**item))
        except Exception as error:
            return {"number": -1, "rows": 0, "rejected": 0, **_told(error)}
        return {"number": scored.number, "rows": scored.rows, "rejected": scored.rejected, **_told(None)}


def score_on_ray(run: Run, parts: Sequence[Part], *, address: str | None, workers: int | None) -> Iterator[Scored]:
    """Score parts on a cluster, and tell of each as it is done.

    Args:
        run: The run; its folder, its data and the model store are reached from all nodes.
        parts: Those to score.
        address: Of the cluster; None for the one that this machine belongs to, or one that is begun for this run.
        workers: Actors; as many as the cluster has CPUs by default.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
        ThinnedError: The model or the data cannot be used on a node.
        OSError: Nothing can be written.
    """
    require_extra("ray", "ray")
    warnings.simplefilter("ignore")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with _silent_stderr():  # on which Ray's C++ tells of its settings, and of each try to connect
        _connect(address)
    try:
        yield from _scored(run, parts, workers or int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _connect(address: str | None) -> None:
    import ray

    variables = {name: _absolute(os.environ[name]) for name in _PASSED_ON if name in os.environ}
    how: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": variables},
    }
    try:
        try:
            ray.init(address=address or "auto", **how)
        except ConnectionError:
            if address is not None:
                raise
            ray.init(include_dashboard=False, **how)
    except Exception as error:
        what = str(error).split("\n")[0][:160]
        raise UsageError(f"no Ray cluster answers at {address or 'this machine'} ({what}); see ray start") from None


def _absolute(paths: str) -> str:
    """Paths as they are from any folder: that of an actor is another."""
    return os.pathsep.join(str(Path(path).absolute()) for path in paths.split(os.pathsep) if path)


def _scored(run: Run, parts: Sequence[Part], workers: int) -> Iterator[Scored]:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = 0
    workers = max(1, min(workers, len(parts)))
    items = ray.data.from_items(list(map(asdict, parts)), override_num_blocks=len(parts))
    pool = ray.data.ActorPoolStrategy(
        min_size=1, max_size=workers, initial_size=workers, max_tasks_in_flight_per_actor=_IN_FLIGHT
    )
    bare = replace(run, data=replace(run.data, parts=()))  # An actor is told of its parts one by one.
    made = items.map(_Actor, fn_constructor_args=(bare,), compute=pool, num_cpus=1)
    for row in made.iter_rows():
        if row["kind"]:
            raise _error(row)
        yield Scored(row["number"], row["rows"], row["rejected"])


def _told(error: Exception | None) -> dict[str, Any]:
    """An error as numbers and text, which come through as they are."""
    if error is None:
        return {"kind": "", "text": "", "errno": 0, "file": ""}
    if isinstance(error, OSError) and error.errno is not None:
        return {"kind": "os", "text": str(error.strerror), "errno": error.errno, "file": str(error.filename or "")}
    kind = "input" if isinstance(error, InputError) else "ours" if isinstance(error, ThinnedError) else "other"
    text = str(error) if kind != "other" else f"{type(error).__name__}: {error}"
    return {"kind": kind, "text": text, "errno": 0, "file": ""}


def _error(row: dict[str, Any]) -> Exception:
    if row["kind"] == "os":
        return OSError(row["errno"], row["text"], row["file"])
    if row["kind"] == "input":
        return InputError([Problem((), row["text"])])
    return UsageError(f"on a node of the cluster: {row['text']}")
