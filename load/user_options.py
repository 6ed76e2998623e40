"""What Locust's own command line and page may tell the users: rows, rate and seed of arrivals."""

from __future__ import annotations

from typing import Any

from locust import events

__all__: list[str] = []


@events.init_command_line_parser.add_listener
def _add(parser: Any) -> None:
    parser.add_argument("--rows", type=int, default=1, help="Rows in each request.")
    parser.add_argument("--rate", type=float, default=10.0, help="Arrivals a second of each open user.")
    parser.add_argument("--arrival-seed", type=int, default=1, help="Seed of the arrivals; each open user has its own.")
