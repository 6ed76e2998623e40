"""What one run of `make bench` says beside the figures that are committed: ratios to the floor, and what became slower.

Times of different machines, and of one machine on different days, do not compare. What passes cost over the arithmetic
that none can avoid does on one kind of processor: both are timed in the same turns. On another kind TensorFlow may use
other kernels (without AVX-512 no oneDNN), in which the one gains more than the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "RATIOS",
    "Cell",
    "Growth",
    "Slower",
    "figures_of",
    "growth",
    "machine_of",
    "over_floor",
    "read_figures",
    "slower_cells",
]

RATIOS = ("ours", "ready")
SLOWER = 1.1
"""A ratio this many times that of the committed figures has become worse, where its quartiles lie apart too."""
Cell = Mapping[str, Any]


class Growth(NamedTuple):
    """How the time of a call grows with its passes: `base_ms` + `pass_us` N / 1000 milliseconds."""

    network: str
    rows: int
    base_ms: float
    pass_us: float
    floor_pass_us: float

    @property
    def row_passes_per_second(self) -> float:
        """What a call of very many passes tends to."""
        return self.rows / self.pass_us * 1e6


class Slower(NamedTuple):
    """A ratio to the floor that is worse than the committed one, beyond what turns of one run differ by."""

    network: str
    rows: int
    n_samples: int
    estimator: str
    before: float
    now: float

    def __str__(self) -> str:
        where = f"{self.network}, B = {self.rows}, N = {self.n_samples}"
        return f"{where}: {self.estimator} takes {self.now:.2f} times the floor, {self.before:.2f} in the figures"


def over_floor(took: Sequence[float], floor: Sequence[float]) -> dict[str, float]:
    """Quartiles of the ratio to the floor, turn by turn.

    Args:
        took: Seconds of each turn.
        floor: Seconds of the floor in the same turns; at least as many.
    """
    ratios = np.array(took) / np.array(floor[: len(took)])
    low, median, high = np.percentile(ratios, [25, 50, 75]).tolist()
    return {"p25": low, "median": median, "p75": high}


def slower_cells(now: Iterable[Cell], before: Iterable[Cell]) -> list[Slower]:
    """What has become slower, of the cells that both runs have.

    Args:
        now: Cells of this run, each with `ratios` of the estimators.
        before: Those that are committed.
    """
    known = {_key(cell): cell for cell in before}
    found = []
    for cell in now:
        old = known.get(_key(cell))
        for name in RATIOS if old is not None else ():
            a, b = old["ratios"].get(name), cell["ratios"].get(name)  # type: ignore[index]
            if a and b and b["median"] > SLOWER * a["median"] and b["p25"] > a["p75"]:
                found.append(Slower(*_key(cell), name, a["median"], b["median"]))
    return found


def growth(cells: Iterable[Cell]) -> list[Growth]:
    """The line through the medians of each network and number of rows, those of three counts of passes or more.

    Relative errors count alike: a line by absolute ones would be that of the largest count.
    """
    series: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        series.setdefault((cell["network"], cell["rows"]), []).append(cell)
    found = []
    for (network, rows), few in series.items():
        if len(few) >= 3:
            counts = [cell["n_samples"] for cell in few]
            lines = []
            for name in ("ours", "floor"):
                took = np.array([cell[name]["median_ms"] for cell in few])
                lines.append(np.polyfit(counts, took, 1, w=1 / took).tolist())
            (slope, base), (floor, _) = lines
            found.append(Growth(network, rows, base, 1e3 * slope, 1e3 * floor))
    return found


def figures_of(device: str) -> Path:
    """The file of the figures that are committed: `engine-cpu.json`, or `engine-gpu.json` once there are any."""
    return Path(__file__).with_name(f"engine-{device}.json")


def read_figures(path: Path) -> list[Cell]:
    """The cells of a file that `--json` wrote; none where there is no such file.

    Raises:
        ValueError: It is no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        cells = document["cells"]
        for cell in cells:
            _key(cell), cell["ratios"]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold figures of `make bench`: {type(error).__name__} {error}") from error
    return list(cells)


def machine_of(path: Path) -> str | None:
    """The machine that a file of figures, which `read_figures` takes, says it is of; None where it says none."""
    about = json.loads(path.read_text(encoding="utf-8")).get("about")
    return str(about["machine"]) if isinstance(about, dict) and "machine" in about else None


def _key(cell: Cell) -> tuple[str, int, int]:
    return cell["network"], cell["rows"], cell["n_samples"]
