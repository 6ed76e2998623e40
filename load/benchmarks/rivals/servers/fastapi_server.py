"""Plain FastAPI behind uvicorn. RIVAL_PORT is its port, RIVAL_WORKERS the number of processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import uvicorn
from fastapi import FastAPI
from network import Network, as_json
from pydantic import BaseModel


class Question(BaseModel):
    """Images of 8 x 8 x 1, and how many passes to draw."""

    inputs: list[list[list[list[float]]]]
    n_samples: int


class Answer(BaseModel):
    """Mean and variance of each class, by row."""

    mean: list[list[float]]
    variance: list[list[float]]


@asynccontextmanager
async def load(app: FastAPI) -> AsyncIterator[None]:
    """Load the network before the first request."""
    app.state.network = Network()
    yield


app = FastAPI(lifespan=load)


@app.get("/readyz")
async def ready() -> str:
    """Answer as soon as the network is loaded."""
    return "ready"


@app.post("/predict_mc")
def predict_mc(question: Question) -> Answer:
    """Draw passes, in a thread of FastAPI's pool."""
    rows = np.asarray(question.inputs, np.float32)
    return Answer(**as_json(app.state.network.ask(rows, question.n_samples)))


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_server:app",
        host="127.0.0.1",
        port=int(os.environ["RIVAL_PORT"]),
        workers=int(os.environ.get("RIVAL_WORKERS", "1")),
        access_log=False,
        # A process that is loading TensorFlow would be taken for dead.
        timeout_worker_healthcheck=120,
        log_level="warning",
    )
