"""What is worked around of BentoML's process manager: a test fails once it is no longer needed."""

from __future__ import annotations

import inspect
from pathlib import Path

import bentoml.serving
from bentoml._internal.utils import circus as bentoml_circus
from circus import arbiter, controller, sighandler, util


def test_a_signal_while_circus_looks_after_its_workers_is_still_lost() -> None:
    """When this fails, `_signalled` may leave the first signal to circus."""
    assert "self.controller.dispatch" in inspect.getsource(sighandler.SysHandler.quit)
    assert "raise ConflictError" in inspect.getsource(util.synchronized)
    assert '@synchronized("manage_watchers")' in inspect.getsource(arbiter.Arbiter.manage_watchers)


def test_circus_still_keeps_its_socket_until_all_have_ended() -> None:
    """When this fails, `_leave` need not close it."""
    assert "sockets" not in inspect.getsource(arbiter.Arbiter.stop).replace("stop_controller_and_close_sockets", "")
    assert "self.sockets.close_all()" in inspect.getsource(arbiter.Arbiter.stop_controller_and_close_sockets)


def test_bentoml_still_starts_no_worker_again_in_a_container_and_looks_seldom() -> None:
    """When this fails, `respawn` or the delay need not be set."""
    assert "respawn=not running_inside_container()" in inspect.getsource(bentoml.serving.create_watcher)
    assert 'kwargs.pop("check_delay", 10)' in Path(bentoml_circus.__file__).read_text()
    assert "self.sys_hdl = SysHandler(self)" in inspect.getsource(controller.Controller)
