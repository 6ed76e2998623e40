"""The BentoML service: `bentoml serve thinned.service.app:UncertaintyService`."""

from __future__ import annotations

import os

# BentoML reads this when it is imported, and reports on its use to its makers otherwise.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml

from thinned.models.compat.bentoml import bare_image
from thinned.models.errors import ThinnedError
from thinned.models.storage.model_store import find
from thinned.service.http.bentoml_server import ThinnedService
from thinned.service.http.routes import create_app
from thinned.service.http.worker import check_settings, end_worker, set_up_worker, shared_folder
from thinned.service.inference.catalogue import Catalogue, check_models
from thinned.service.inference.siblings import Siblings
from thinned.service.settings import Settings

__all__ = ["UncertaintyService"]

http = create_app()


@bentoml.service(
    service_class=ThinnedService,
    description="Serves a Keras model: its answer, or its answer with the uncertainty of its Monte Carlo dropout.",
    # A number that BentoML reads when it starts the workers. One that cannot be used is refused by `check` below.
    workers=int(count) if (count := os.environ.get("THINNED_WORKERS", "")).isdecimal() and int(count) else 1,
    image=bare_image(),
    # What a client sends as its content type need not be text, and BentoML's access log takes it for that.
    logging={"access": {"request_content_type": False}},
)
@bentoml.asgi_app(http, path="/")
class UncertaintyService:
    """Holds the models of one worker process; the routes are those of `thinned.service.http.routes`."""

    def __init__(self) -> None:
        self.models = Catalogue.of(Settings.read(), Siblings(shared_folder()))
        set_up_worker(http, self.models)
        self.models.start()

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Refuse to start at all without settings and models; a worker that fails would be started again for ever."""
        try:
            settings = Settings.read()
            check_models(settings, [find(reference.text) for reference in settings.references])
            check_settings(settings)
        except ThinnedError as error:
            raise SystemExit(f"thinned: {error}") from None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Let go of the requests that wait."""
        self.models.close()
        end_worker(http)
