"""Private names of BentoML 1.4.40 that the project uses, each with the reason. No other module reaches behind its API.

`tests/models/compat/test_bentoml.py` fails when one of these is no longer needed, or is gone.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinned.models.compat.arbiter import make_arbiter

if TYPE_CHECKING:
    import bentoml
    from bentoml.images import Image

__all__ = [
    "bare_image",
    "close_side_doors",
    "costly_middlewares",
    "creating_in",
    "metrics_folder_variable",
    "model_store_folder",
    "traces_are_exported",
]

METRICS = "RunnerTrafficMetricsMiddleware"
ACCESS_LOG = "AccessLogMiddleware"


def model_store_folder() -> Path:
    """The folder of the model store: of the bento that is served, where it holds its models; else under BENTOML_HOME.

    In an image a bento holds them, and BentoML puts them in the store's place before it imports the service.
    `bentoml.models.list()` tells models, and not their folder.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store.get()._path)


@contextmanager
def creating_in(folder: Path, name: str, **options: Any) -> Iterator[bentoml.Model]:
    """`bentoml.models.create`, in a store in another folder: what fails on the way never stands in the real one."""
    import bentoml.models
    from bentoml._internal.models.model import ModelStore

    with bentoml.models.create(name, _model_store=ModelStore(folder), **options) as model:
        yield model


def bare_image() -> Image:
    """What `bentoml containerize` begins with: Debian and Python, and no more.

    For a distribution that it knows BentoML first installs a compiler, git and gnupg2. Every package that is locked
    comes as a wheel, and needs none of them; of the system it needs what Debian always has.
    """
    from bentoml.images import Image

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Image(base_image=f"python:{python}-slim", distro="none")


def traces_are_exported() -> bool:
    """Whether an operator has configured where OpenTelemetry's traces go."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return BentoMLContainer.tracing.exporter_type.get() is not None


def costly_middlewares() -> set[str]:
    """Class names of the middlewares that BentoML puts around every service and that are left out here.

    `TimeoutMiddleware` never cancels its timers: each request keeps its objects for the whole timeout, and the garbage
    collector stops the service for up to 250 ms under load. It ends no computation either.
    `OpenTelemetryMiddleware` costs 0.2 ms a request, half of an empty one, even where no traces go anywhere.
    The metrics and the access log cost as much again; `thinned.service.http.request_log` counts and logs instead.
    `ContextMiddleware` sets up what only BentoML's own endpoints read, and this service has none.
    """
    traced = set() if traces_are_exported() else {"OpenTelemetryMiddleware"}
    return {"TimeoutMiddleware", "ContextMiddleware", METRICS, ACCESS_LOG} | traced


metrics_folder_variable = "PROMETHEUS_MULTIPROC_DIR"
"""In this variable BentoML tells its workers the folder that `ensure_prometheus_dir` made."""


def close_side_doors() -> None:
    """Have `bentoml serve` listen nowhere but on the address asked for, and share no folder with other services.

    `create_standalone_arbiter` opens two TCP ports; `thinned.models.compat.arbiter` says what else is changed of it.
    `ensure_prometheus_dir` wipes one folder under BENTOML_HOME, which another service with this home may be using.

    To be called when the service's module is imported: `serve_http` looks both up after that.
    """
    import bentoml.serving
    from bentoml._internal.utils import circus

    circus.create_standalone_arbiter = make_arbiter
    bentoml.serving.ensure_prometheus_dir = _metrics_folder


def _metrics_folder(*_: Any, **__: Any) -> str:
    """A folder of this service's own; empty where none can be made, and workers then tell of themselves only."""
    import atexit

    try:
        folder = tempfile.mkdtemp(prefix="thinned-metrics-")
    except OSError:
        return ""
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
