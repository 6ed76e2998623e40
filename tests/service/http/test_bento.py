"""The built bento holds all that it needs, and serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bentoml
import httpx

from tests.serving import ROOT, start_service


def test_the_built_bento_serves(digits: str, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "bentoml", "build", str(ROOT), "--version", "tested", "--output", "tag"]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "thinned:tested" in done.stdout

    bento = bentoml.get("thinned:tested")
    assert [model.tag.name for model in bento.info.models] == ["digits"]
    requirements = Path(bento.path, "env", "python", "requirements.txt").read_text()
    assert "keras==3" in requirements
    assert "--hash=sha256:" in requirements
    for tool in ("pytest", "hypothesis", "locust", "matplotlib", "scikit-learn", "mypy"):
        assert f"\n{tool}==" not in requirements

    # From a folder that is not the repository: what is served is the bento's own copy of the code.
    with start_service(digits, target="thinned:tested", cwd=tmp_path) as service:
        image = [[[0.0]] * 8] * 8
        answer = httpx.post(service.url + "/predict_mc", json={"inputs": [image], "n_samples": 5}).json()
        assert len(answer["mean"][0]) == 10
        assert answer["n_samples"] == 5
