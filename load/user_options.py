"""Options that the users add to Locust's command line and page: rows, arrival rate, arrival seed."""

from __future__ import annotations

from typing import Any

from locust import events

__all__: list[str] = []


@events.init_command_line_parser.add_listener
def _add(parser: Any) -> None:
    parser.add_argument("--rows", type=int, default=1, help="Rows in each request.")
    parser.add_argument("--rate", type=float, default=10.0, help="Arrivals per second of each open user.")
    parser.add_argument("--arrival-seed", type=int, default=1, help="Seed of arrivals; each open user has its own.")
