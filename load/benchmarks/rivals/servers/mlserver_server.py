"""A runtime of MLServer's. Its settings are in the folder that `mlserver start` is given."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import Network


class Digits(MLModel):
    """Draws passes for a request, which may be several that MLServer has joined."""

    async def load(self) -> bool:
        """Load the network."""
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer inputs `image`, (B, 8, 8, 1), and `n_samples`, (B, 1), with `mean` and `variance`."""
        given = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        rows = given["image"].astype(np.float32)
        questions = [(rows[i : i + 1], int(n)) for i, n in enumerate(given["n_samples"].ravel())]
        answers = self.network.ask_together(questions)
        mean, variance = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        outputs = [NumpyCodec.encode_output("mean", mean), NumpyCodec.encode_output("variance", variance)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
