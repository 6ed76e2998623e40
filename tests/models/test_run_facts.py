"""What is said of the machine that a figure was measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinned.models import run_facts


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a driver describes its GPUs; none is there yet."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(run_facts, "_GPUS", tmp_path)
    return tmp_path


def test_a_machine_without_a_gpu_used_none(driver: Path) -> None:
    assert run_facts.accelerators() == "no accelerator used"


def test_gpus_are_named_as_the_driver_names_them(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bus, text in (("0000:1b:00.0", "Model: \t\t NVIDIA L4\nIRQ: 61\n"), ("0000:1c:00.0", "IRQ: 62\n")):
        (driver / bus).mkdir()
        (driver / bus / "information").write_text(text)
    assert run_facts.accelerators() == "GPU: NVIDIA L4"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert run_facts.accelerators() == "no accelerator used"
