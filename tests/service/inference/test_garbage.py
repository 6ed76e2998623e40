"""The garbage collector: what is kept, when it looks, and that what went wrong leaves nothing to it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from thinned.service.inference import garbage


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_the_lists_of_a_request_do_not_bring_it_about() -> None:
    garbage.look_seldom()
    gc.collect()
    looked: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        looked.append(phase)

    gc.callbacks.append(note)
    try:
        rows = [[float(i)] for i in range(16 * 784)]
    finally:
        gc.callbacks.remove(note)
    assert len(rows) == 16 * 784
    assert not looked


class Ring:
    """Refers to itself, as what is made of frames and callbacks does."""

    def __init__(self) -> None:
        self.other = self


def test_what_was_kept_and_is_let_go_is_freed_by_another_look() -> None:
    ring = Ring()
    known = weakref.ref(ring)
    garbage.keep()
    del ring
    gc.collect()
    assert known() is not None
    garbage.look_again()
    assert known() is None


def test_it_looks_again_when_the_last_has_ended() -> None:
    with garbage.no_look():
        with garbage.no_look():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
