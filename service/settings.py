"""What an operator may set: environment variables that start with THINNED_, checked when the service starts."""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from thinned.models.errors import SettingsError
from thinned.service.references import Reference, read_references

__all__ = ["DEBUG", "PREFIX", "Settings"]

PREFIX = "THINNED_"
DEBUG = "THINNED_DEBUG"
"""No setting of the service: set by a person who wants the traceback of a command's error."""
MIB = 1024 * 1024
SOURCES = Path(__file__).resolve().parents[1:3]
"""Where a bento's `src` may be: the folder of `service`, or that of the package `thinned` which holds it."""


class Settings(BaseSettings):
    """The service's settings. Field `max_rows` is set by the variable `THINNED_MAX_ROWS`, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    model: str = Field(
        "digits",
        min_length=1,
        description="Models to serve, a space between them, the first by default: NAME, NAME:VERSION or NAME@ALIAS, "
        "with @shadow behind it for one that answers unseen; in a bento the version that it was built with.",
    )
    workers: int = Field(1, ge=1, le=64, description="Worker processes, each with the model loaded.")
    drain_s: float = Field(
        2.0,
        ge=0,
        le=3600,
        description="Seconds at the end in which the service says that it is not ready, and still takes connections.",
    )
    refuse_unready: bool = Field(
        False,
        description="Whether connections are ended unanswered while no worker is ready, for balancers that do not ask "
        "/readyz; otherwise requests are answered 503.",
    )
    wedged_s: float = Field(
        120.0, gt=0, description="A worker whose computing or whose event loop stands still so long is started again."
    )
    max_rows: int = Field(1024, ge=1, description="Rows that one request may send.")
    max_length: int = Field(4096, ge=1, description="Longest that an axis of variable length may be.")
    max_samples: int = Field(1000, ge=2, description="Largest n_samples that one request may ask for.")
    default_samples: int = Field(32, ge=2, description="n_samples of a request that does not say.")
    max_row_passes: int = Field(65_536, ge=2, description="Largest product of rows and n_samples in one request.")
    block_row_passes: int | None = Field(
        None, ge=1, description="Row-passes computed at a time; bounds memory. Unset: as many as fit 128 MiB."
    )
    max_returned_numbers: int = Field(
        2_000_000, ge=1, description="Numbers that one answer may hold, passes kept for samples and quantiles included."
    )
    max_body_bytes: int = Field(16 * MIB, ge=64, description="Largest request body, in bytes.")
    body_timeout_s: float = Field(30.0, gt=0, description="Within this time the body of a request must have arrived.")
    body_bytes_per_s: int = Field(
        1024, ge=0, description="Slowest that a body may arrive on average, after its first 5 seconds; 0 for any rate."
    )
    max_bodies: int = Field(128, ge=1, description="Bodies that may be on their way at once; more are answered 503.")
    max_header_bytes: int = Field(32 * 1024, ge=1024, description="Bytes of a request before its body.")
    header_timeout_s: float = Field(
        10.0, gt=0, description="Within this time a connection must have sent the headers of a request."
    )
    max_connections: int = Field(
        512, ge=2, description="Open connections to one worker; over it the one idle for longest is closed."
    )
    memory_mib: int = Field(
        0,
        ge=0,
        description="MiB for the calls and requests of one worker; 0 for half of the machine's or container's.",
    )
    max_model_mib: int = Field(8192, ge=1, description="MiB that a model file may hold once it is unpacked.")
    max_waiting: int = Field(64, ge=0, description="Requests that may wait for their turn; more are answered 503.")
    join: bool = Field(True, description="Whether requests that wait are joined into one graph call.")
    timeout_ms: int = Field(30_000, ge=1, description="Within this time a request is answered, or told that it isn't.")
    max_timeout_ms: int = Field(300_000, ge=1, description="Largest timeout_ms that one request may ask for.")
    tokens: Path | None = Field(
        None, description="File of the tokens that may ask, read again at SIGHUP. Unset: everyone may."
    )
    open_metrics: bool = Field(False, description="Whether /metrics needs no token, where there are tokens.")
    open_docs: bool = Field(
        False, description="Whether the page at / and the OpenAPI document need no token, where there are tokens."
    )
    metrics_address: str | None = Field(
        None, description="HOST:PORT, or PORT for loopback, that answers /metrics without a token. Unset: none."
    )
    grpc_address: str | None = Field(
        None, description="HOST:PORT, or PORT for loopback, that answers the V2 protocol by gRPC. Unset: none."
    )
    log_format: Literal["text", "json"] = Field("text", description="How log lines are written: text, or json.")
    traces: Literal["off", "console", "otlp"] = Field(
        "off", description="Where OpenTelemetry's spans go: off, console, or otlp."
    )
    compute_threads: int = Field(
        0, ge=0, le=1024, description="TensorFlow's threads in one worker; 0 for its share of the cores."
    )

    @field_validator("model")
    @classmethod
    def _name_models(cls, text: str) -> str:
        read_references(text)
        return text

    @model_validator(mode="before")
    @classmethod
    def _serve_what_was_packed(cls, values: dict[str, object]) -> dict[str, object]:
        """In a bento the models that it was built with are served, whatever else the store holds."""
        packed = [models for source in SOURCES if (models := models_of_bento(source)) is not None]
        return {"model": packed[0], **values} if packed else values

    @model_validator(mode="before")
    @classmethod
    def _lower_the_default(cls, values: dict[str, object]) -> dict[str, object]:
        """An operator who lowers a limit need not lower the default with it."""
        most = values.get("max_timeout_ms")
        if "timeout_ms" not in values and _is_integer(most):
            values["timeout_ms"] = min(30_000, int(str(most)))
        limits = [int(str(values[name])) for name in ("max_samples", "max_row_passes") if _is_integer(values.get(name))]
        if "default_samples" not in values and limits:
            values["default_samples"] = max(2, min(32, *limits))
        return values

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.timeout_ms > self.max_timeout_ms:
            raise ValueError(
                f"{PREFIX}TIMEOUT_MS is {self.timeout_ms}, more than {PREFIX}MAX_TIMEOUT_MS ({self.max_timeout_ms}); "
                "lower the first or raise the second"
            )
        for name in ("max_samples", "max_row_passes"):
            if self.default_samples > getattr(self, name):
                raise ValueError(
                    f"{PREFIX}DEFAULT_SAMPLES is {self.default_samples}, more than {PREFIX}{name.upper()} "
                    f"({getattr(self, name)}); lower the first or raise the second"
                )
        return self

    @classmethod
    def read(cls) -> Settings:
        """Read the settings from the environment.

        Raises:
            SettingsError: A value cannot be used, or a variable with the prefix is no setting; names each of them.
        """
        unknown = [name for name in sorted(os.environ) if name.upper().startswith(PREFIX) and not _known(name)]
        links = _service_links(unknown)
        wrong = [_unknown(name) for name in unknown if name not in links]
        if links:
            wrong.append(
                f"Kubernetes has set {', '.join(links)} for a Service of that name: set enableServiceLinks to false in "
                "the pod's spec, or give the Service another name"
            )
        try:
            settings = cls()
        except ValidationError as error:
            wrong += [_wrong(details["loc"], details["msg"], details["input"]) for details in error.errors()]
        if wrong:
            raise SettingsError("; ".join(wrong))
        return settings

    @property
    def references(self) -> tuple[Reference, ...]:
        """The models to serve."""
        return read_references(self.model)

    def table(self) -> list[tuple[str, str, str]]:
        """Rows of (variable, value in force, meaning), for people."""
        return [
            (variable(name), str(getattr(self, name)), field.description or "")
            for name, field in type(self).model_fields.items()
        ]

    def limits(self) -> dict[str, int]:
        """The limits that a client must keep, by the name of the setting."""
        names = (
            "default_samples",
            "max_rows",
            "max_length",
            "max_samples",
            "max_row_passes",
            "max_returned_numbers",
            "max_body_bytes",
            "timeout_ms",
            "max_timeout_ms",
        )
        return {name: getattr(self, name) for name in names}


@cache
def models_of_bento(source: Path) -> str | None:
    """What a bento was built to serve, as `model` names it; None outside of bentos.

    It is what its environment names, where `thinned build` packed several models; else its first model of ours.

    Args:
        source: The folder of the code, which is `src` in a bento, beside its `bento.yaml`.
    """
    if source.name != "src":
        return None
    try:
        with (source.parent / "bento.yaml").open(encoding="utf-8") as file:
            described = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError):
        return None
    described = described if isinstance(described, dict) else {}
    for given in described.get("envs") or ():
        if isinstance(given, dict) and given.get("name") == variable("model") and given.get("value"):
            return str(given["value"])
    packed = described.get("models")
    return next((model["tag"] for model in packed or () if str(model.get("module", "")).startswith("thinned.")), None)


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def _known(name: str) -> bool:
    return name == DEBUG or name.upper().removeprefix(PREFIX).lower() in Settings.model_fields


def _unknown(name: str) -> str:
    variables = [variable(field) for field in Settings.model_fields]
    close = difflib.get_close_matches(name.upper(), variables, n=1)
    return f"{name} is no setting; " + (f"did you mean {close[0]}?" if close else f"there are {', '.join(variables)}")


def _service_links(names: list[str]) -> list[str]:
    """Those that Kubernetes gives a pod for Services whose names start with `thinned`."""
    services = [name.removesuffix("_SERVICE_HOST") for name in names if name.endswith("_SERVICE_HOST")]
    starts = tuple(f"{service}{end}" for service in services for end in ("_SERVICE_", "_PORT"))
    return [name for name in names if name.startswith(starts)]


def _wrong(loc: tuple[int | str, ...], message: str, value: object) -> str:
    message = message.removeprefix("Value error, ")
    return f"{variable(str(loc[0]))}: {message[0].lower()}{message[1:]}, received {value!r}" if loc else message


def _is_integer(value: object) -> bool:
    return str(value).strip().isdecimal()
