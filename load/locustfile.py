"""Users that ask a running service for answers, without uncertainty and with it at 10, 30 and 100 passes.

Each sample count has its own name in Locust's statistics, and an answer whose body is wrong counts as a failure.
`make load` runs these; so does Locust's own page: `locust -f load/locustfile.py --host http://127.0.0.1:3000`.
"""

from __future__ import annotations

import json
import random
import urllib.request
from functools import cache
from typing import Any, ClassVar

from locust import FastHttpUser, task

from load.bodies import MAX_SEED, WrongAnswerError, check_predict, check_predict_mc, draw_inputs

__all__ = ["USERS", "Mc10User", "Mc30User", "Mc100User", "PredictUser", "ServiceUser"]

# Requests are made before the clock runs, and asked in turn.
REQUESTS = 32


@cache
def fetch_card(host: str) -> dict[str, Any]:
    """The served model's card, asked once."""
    with urllib.request.urlopen(f"{host}/model", timeout=10) as answer:
        card: dict[str, Any] = json.load(answer)
    return card


class ServiceUser(FastHttpUser):
    """Asks as soon as the last answer has come. Subclasses say what they ask, and under which name it counts."""

    abstract = True
    path: ClassVar[str]
    label: ClassVar[str]
    n_samples: ClassVar[int] = 0
    rows: ClassVar[int] = 1

    def on_start(self) -> None:
        """Makes this user's requests, all different."""
        self.card = fetch_card(self.host.rstrip("/"))
        source = random.Random()
        self.requests = [self.draw(self.card, source) for _ in range(REQUESTS)]
        self.turn = 0

    @classmethod
    def draw(cls, card: dict[str, Any], source: random.Random) -> dict[str, Any]:
        """The body of one request."""
        inputs = {"inputs": draw_inputs(card, cls.rows, source)}
        if cls.n_samples:
            return {**inputs, "n_samples": cls.n_samples, "seed": source.randint(0, MAX_SEED)}
        return inputs

    def check(self, request: dict[str, Any], answer: Any) -> None:
        """Raises `WrongAnswerError` unless the answer is one to this request."""
        if self.n_samples:
            check_predict_mc(self.card, request, self.rows, answer)
        else:
            check_predict(self.card, self.rows, answer)

    @task
    def ask(self) -> None:
        """One request and its answer."""
        request = self.requests[self.turn % REQUESTS]
        self.turn += 1
        with self.client.post(self.path, json=request, name=self.label, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"expected status 200, received {response.status_code}: {(response.text or '')[:300]}")
                return
            try:
                self.check(request, response.json())
            except (WrongAnswerError, ValueError) as error:
                response.failure(str(error))


class PredictUser(ServiceUser):
    """Asks for the answer alone."""

    path = "/predict"
    label = "POST /predict"


class Mc10User(ServiceUser):
    """Asks for the answer with its uncertainty over 10 passes."""

    path = "/predict_mc"
    label = "POST /predict_mc N=10"
    n_samples = 10


class Mc30User(ServiceUser):
    """Asks for the answer with its uncertainty over 30 passes."""

    path = "/predict_mc"
    label = "POST /predict_mc N=30"
    n_samples = 30


class Mc100User(ServiceUser):
    """Asks for the answer with its uncertainty over 100 passes."""

    path = "/predict_mc"
    label = "POST /predict_mc N=100"
    n_samples = 100


USERS: tuple[type[ServiceUser], ...] = (PredictUser, Mc10User, Mc30User, Mc100User)
