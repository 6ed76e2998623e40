"""`thinned audit`: whether dropout is correct in a model, and what it does there, measured on the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from thinned.models.errors import UsageError
from thinned.service.cli.findings import print_findings
from thinned.service.cli.output import console, print_json, table

if TYPE_CHECKING:
    from thinned.models.audit.report import Audit, SiteAudit

__all__ = ["register"]

HELP = """Audit the dropout of a stored model or of a .keras file.

Every site is measured: how often it drops against its rate, how it scales what survives, and the same of Keras's own
layer. Then the model: normalisation behind dropout, what training=True would have changed, how far the plain answer
lies from the mean over passes, and which site causes how much of the variance.

Without --data it is measured on made-up rows; shares and shifts then say little of yours.

\b
Examples:
  thinned audit digits
  thinned audit my_model.keras --data some_rows.npz --strict
  thinned audit digits --json > audit.json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("audit", help=HELP)(_audit)


def _audit(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE.keras", help="A stored model, or a file.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="x.npz|x.csv|x.parquet", help="Rows to measure on; the first 64 are used.", show_default=False
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE|FILE.py", help="For a file: defines its layers. ITS CODE IS RUN.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that was measured as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 if there is a warning.")] = False,
) -> None:
    found = run_audit(model, data=data, module=module)
    if as_json:
        print_json(found.to_json())
    else:
        print_audit(found)
    if strict and found.warned:
        raise typer.Exit(1)


def run_audit(model: str, *, data: Path | None, module: str | None) -> Audit:
    """Load and audit a stored model or a file.

    Raises:
        ThinnedError: There is no such model, it cannot be served, or the rows do not fit it.
    """
    from thinned.models.compat.tensorflow import import_tensorflow
    from thinned.service.cli.data_files import read_rows

    if model.endswith((".keras", ".h5", ".hdf5")):
        from thinned.models.storage.custom_layers import find_module
        from thinned.models.storage.keras_archive import read_keras
        from thinned.models.storage.legacy.conversion import current_archive

        source = None if module is None else find_module(module)
        archive = current_archive(Path(model), source)
        keras_model = read_keras(archive.path, source)
        from thinned.models.dropout import enable_mc_dropout

        loaded = enable_mc_dropout(keras_model)
        inputs = loaded.inputs
        classes = [output.name for output in loaded.outputs if output.activation == "softmax"]
    else:
        if module is not None:
            raise UsageError("--module goes with a file; a stored model keeps its own")
        from thinned.models.storage.model_store import find

        stored = find(model)
        import_tensorflow()
        from thinned.models.loading import load_stored

        loaded = load_stored(stored)
        inputs = stored.card.inputs
        classes = [output.name for output in stored.card.outputs if output.task == "classification"]
    from thinned.models.audit.run import audit

    return audit(loaded, inputs=None if data is None else read_rows(data, inputs), classes=classes)


def print_audit(found: Audit) -> None:
    """Everything of an audit that a person would read: verdict, sites, findings."""
    out = console()
    out.print(Text(found.verdict, style="bold"), soft_wrap=True)
    if found.sites:
        table(
            "site",
            "kind",
            "rate",
            "dropped",
            "99 % interval",
            "of draws",
            "scale off by",
            "mean factor",
            "Keras's own",
            "variance",
            "",
            rows=[_site_row(site) for site in found.sites],
            right=("rate", "dropped", "99 % interval", "of draws", "scale off by", "mean factor", "variance"),
        )
        for site in found.sites:
            out.print(Text(f"  {_where(site)} {_rate(site)}: {site.words}."), soft_wrap=True)
        out.print(
            f"Measured over {found.n_samples} passes, seed {found.seed}. `variance` is that with the one site alone "
            "over that with all.",
            soft_wrap=True,
        )
    out.print(f"Rows: {found.rows_used}.\n", soft_wrap=True, markup=False)
    print_findings(found.findings)


def _site_row(site: SiteAudit) -> tuple[str, ...]:
    own = "-"
    if site.keras is not None:
        own = f"{site.keras.frequency:.4f} {'right' if site.keras.correct else 'WRONG'}"
    shares = list(site.variance_share.values())
    measured = "-"
    if site.frequency is not None:
        measured = f"{site.frequency:.4f}"
    elif site.spread is not None:
        measured = f"sd {site.spread:.4g}"
    return (
        site.path,
        site.kind,
        _rate(site).removeprefix("rate "),
        measured,
        "-" if site.low is None or site.high is None else f"{site.low:.4f} to {site.high:.4f}",
        f"{site.drawn:,}" if site.drawn else "-",
        "-" if site.scale_error is None else f"{site.scale_error:.1g}",
        "-" if site.mean_factor is None else f"{site.mean_factor:.4f}",
        own,
        " / ".join(f"{share:.0%}" for share in shares) or "-",
        "WRONG" if not site.correct else "registered" if site.registered else "right",
    )


def _where(site: SiteAudit) -> str:
    ends = [f"{word} {', '.join(names)}" for word, names in (("behind", site.after), ("before", site.before)) if names]
    return f"{site.path}, {' and '.join(ends)}," if ends else f"{site.path},"


def _rate(site: SiteAudit) -> str:
    if site.rate is not None:
        return f"rate {site.rate:g}"
    return f"sd {site.stddev:g}" if site.stddev is not None else site.kind
