"""`python -m thinned.loadtest.benchmarks.bodies`: what rows cost over the engine's time, by how their body is written.

It starts its own services on free loopback ports with a temporary model store, and asks /predict of two models of
images: 16 rows of 96 x 96 x 3, and one of 224 x 224 x 3.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import closing
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from thinned.loadtest.benchmarks.measured_services import environment, run_python, serve_model
from thinned.loadtest.benchmarks.protocol import measure
from thinned.loadtest.machine import describe_run

__all__ = ["SIZES", "bodies_of", "main"]

SIZES = {"rows96": (16, 96), "image224": (1, 224)}
"""Rows, and height and width of their images, by the name of the model that takes them."""
_ROUNDS, _CALLS = 3, 60
_SAVE = (
    "import sys; from thinned.loadtest.benchmarks.networks import pooled; pooled(int(sys.argv[1])).save(sys.argv[2])"
)


def bodies_of(rows: int, side: int) -> dict[str, tuple[bytes, str]]:
    """The same images in every form that there is: body and content type. Images themselves are one row."""
    from PIL import Image

    smooth = np.add.outer(np.arange(side), np.arange(side))[:, :, np.newaxis] * np.array([1, 2, 3])
    noise = np.random.default_rng(0).integers(0, 32, (rows, side, side, 3))
    pixels = ((smooth + noise) % 256).astype(np.uint8)
    found = {
        "JSON, integers": (json.dumps({"inputs": pixels.tolist()}).encode(), "application/json"),
        "JSON, float32": (json.dumps({"inputs": (pixels / np.float32(255)).tolist()}).encode(), "application/json"),
        "npy, uint8": (_npy(pixels), "application/x-npy"),
        "npy, float32": (_npy(pixels / np.float32(255)), "application/x-npy"),
        "npz, uint8": (_npz(image=pixels), "application/x-npz"),
    }
    for kind in ("PNG", "JPEG") if rows == 1 else ():
        content = BytesIO()
        Image.fromarray(pixels[0]).save(content, kind)
        found[kind] = (content.getvalue(), f"image/{kind.lower()}")
    return found


def _npy(array: Any) -> bytes:
    content = BytesIO()
    np.save(content, array)
    return content.getvalue()


def _npz(**arrays: Any) -> bytes:
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _measure(url: str, bodies: dict[str, tuple[bytes, str]], rounds: int, calls: int) -> dict[str, float]:
    """Milliseconds over the engine, the median of rounds that take turns."""
    times: dict[str, list[float]] = {way: [] for way in bodies}
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=60)) as client:
        for _ in range(rounds):
            for way, (body, kind) in bodies.items():
                times[way].append(measure(client, "/predict", body, {"content-type": kind}, calls)[0])
    return {way: float(np.median(found)) for way, found in times.items()}


def main() -> None:
    """Print a line for each size and form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a few calls, to see that it works")
    rounds, calls = (1, 10) if parser.parse_args().quick else (_ROUNDS, _CALLS)
    with tempfile.TemporaryDirectory(prefix="thinned-bench-") as folder, environment(BENTOML_HOME=folder):
        for name, (rows, side) in SIZES.items():
            path = Path(folder) / f"{name}.keras"
            run_python("-c", _SAVE, str(side), str(path))
            run_python("-m", "thinned", "import", str(path), "--task", "classification", "--name", name)
            bodies = bodies_of(rows, side)
            with serve_model(name) as service:
                found = _measure(service.url, bodies, rounds, calls)
            for way, over_ms in found.items():
                times = found["JSON, float32" if "float" in way else "JSON, integers"] / over_ms
                said = f"{len(bodies[way][0]) / 1e3:.0f} kB, {over_ms:.2f} ms over the engine, 1/{times:.1f} of JSON"
                print(f"{rows} × {side} × {side} × 3, {way}: {said}", flush=True)
    for name, said in describe_run().items():
        print(f"{name}: {said}")


if __name__ == "__main__":
    main()
