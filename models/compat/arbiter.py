"""The process that starts the workers, as BentoML 1.4.40 makes it of circus, with what both of them lack.

Both endpoints of circus are TCP ports on loopback without a password: whoever reaches them has it run any command as
the service's user. Here they stay inside the process.

A signal that arrives while circus looks after its workers is answered with an exception, and lost; its copy of the
socket stays open until the last worker has ended, so that who comes meanwhile stands in line and is reset. Here a
signal to end is never lost, this process's copy of the socket is closed before the workers are told, and a second
signal ends everything at once.

In a container BentoML starts no worker again, and elsewhere it looks every 10 s whether one is missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import threading
import uuid
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = ["make_arbiter"]

log = logging.getLogger("bentoml.thinned")

LOOKS_EVERY_S = 1


def make_arbiter(watchers: list[Any], *, threaded: bool = False, **options: Any) -> Any:
    """In place of BentoML's `create_standalone_arbiter`, with its arguments.

    Args:
        watchers: What circus starts.
        threaded: Whether it runs in a thread of its own.
        options: Those of circus's Arbiter.
    """
    from bentoml._internal.utils.circus import Arbiter, ThreadedArbiter

    folder = None
    address = f"inproc://thinned-{uuid.uuid4().hex}"
    if options.get("plugins"):  # They are processes of their own, such as that of --reload, and have to reach it.
        folder = tempfile.mkdtemp(prefix="thinned-")  # For this user only.
        address = f"ipc://{folder}/circus"
    for watcher in watchers:
        # A worker reads its tokens and its model again at SIGHUP; without this it would be replaced.
        watcher.send_hup = True
        watcher.respawn = True
    options.pop("check_delay", None)
    arbiter = _ending_well(ThreadedArbiter if threaded else Arbiter)(
        watchers,
        endpoint=f"{address}-control",
        pubsub_endpoint=f"{address}-events",
        check_delay=LOOKS_EVERY_S,
        **options,
    )
    if folder is not None:
        arbiter.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return arbiter


def _ending_well(base: type[Any]) -> type[Any]:
    class EndingWell(base):
        """An arbiter whose end loses no signal and no request."""

        _signals = 0
        _hurried = False

        def start_io_loop(self) -> None:
            """Listen to signals in place of circus, and turn."""
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
                    signal.signal(number, self._signalled)
            super().start_io_loop()

        def start(self, *arguments: Any, **named: Any) -> None:
            super().start(*arguments, **named)
            if self._hurried:
                raise SystemExit(1)

        def _signalled(self, _: int, __: FrameType | None) -> None:
            self._signals += 1
            self.loop.add_callback_from_signal(self._leave if self._signals == 1 else self._hurry)

        async def _leave(self) -> None:
            log.info("stopping; a second signal ends the service at once")
            self._stopping = True  # Nobody is started again.
            while self._exclusive_running_command is not None:
                await asyncio.sleep(0.05)
            self.sockets.close_all()
            await self.stop()

        def _hurry(self) -> None:
            self._hurried = True
            for watcher in self.watchers:
                for process in list(watcher.processes.values()):
                    with suppress(OSError):
                        os.kill(process.pid, signal.SIGKILL)

    return EndingWell
