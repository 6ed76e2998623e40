from __future__ import annotations

import os

import pytest

from thinned.service.inference import threads
from thinned.service.inference.threads import set_threads, threads_for


@pytest.mark.parametrize(("cores", "workers", "each"), [(2, 1, 2), (2, 2, 1), (2, 5, 1), (16, 3, 5), (1, 1, 1)])
def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, each: int) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    assert threads_for(workers) == each


def test_tensorflows_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    set_threads(3)
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "7"
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    set_threads(3)
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "3"
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
