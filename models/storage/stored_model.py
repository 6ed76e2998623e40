"""One stored version of a model: its folder, its card, and whether its files are those that came in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from thinned.models.card import ModelCard
from thinned.models.errors import ModelCorruptError

__all__ = [
    "CARD_DIGEST_FILE",
    "CARD_FILE",
    "LAYERS_FILE",
    "MODEL_FILE",
    "OOD_FILE",
    "ROWS_FILE",
    "StoredModel",
    "digest",
    "read",
    "verify",
    "verify_files",
]

MODEL_FILE = "model.keras"
CARD_FILE = "card.json"
CARD_DIGEST_FILE = "card.sha256"
LAYERS_FILE = "layers.py"
ROWS_FILE = "rows.npz"
OOD_FILE = "ood.npz"


@dataclass(frozen=True)
class StoredModel:
    """A model in the store.

    `path` is the folder of `model.keras`, `card.json` and its digest `card.sha256`, for custom objects `layers.py`,
    `rows.npz` where rows of the user's data were given, and `ood.npz` where calibration made it.
    """

    card: ModelCard
    version: str
    path: Path

    @property
    def tag(self) -> str:
        """Name and version, as BentoML writes them: "digits:abc123"."""
        return f"{self.card.name}:{self.version}"


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(place: Path) -> StoredModel:
    """Read the version in a folder; of its files only the card is looked at.

    Raises:
        ModelCorruptError: The card cannot be read, or is not the one that was stored.
    """
    tag = f"{place.parent.name}:{place.name}"
    try:
        text = (place / CARD_FILE).read_bytes()
        card = ModelCard.model_validate_json(text)
    except (OSError, ValidationError) as error:
        what = f"{error.error_count()} wrong fields" if isinstance(error, ValidationError) else str(error.strerror)
        raise ModelCorruptError(
            f"the card of {tag} cannot be read ({what}); delete it (thinned delete {tag}) and import it again"
        ) from error
    expected, received = _card_digest(place), hashlib.sha256(text).hexdigest()
    if expected not in (None, received):
        raise ModelCorruptError(
            f"the card of {tag} is not the one that was stored: expected SHA-256 {str(expected)[:12]}…, received "
            f"{received[:12]}…; delete it (thinned delete {tag}) and import it again"
        )
    return StoredModel(card, place.name, place)


def verify(stored: StoredModel, path: Path, expected: str) -> None:
    """Compare one file of a version with the digest on its card.

    Raises:
        ModelCorruptError: It cannot be read, or is another.
    """
    remedy = f"delete it (thinned delete {stored.tag}) and import it again"
    try:
        received = digest(path)
    except OSError as error:
        reason = error.strerror or error
        raise ModelCorruptError(f"{path.name} of {stored.tag} cannot be read ({reason}); {remedy}") from error
    if received != expected:
        raise ModelCorruptError(
            f"{path.name} of {stored.tag} is not the file that was imported: expected SHA-256 {expected[:12]}…, "
            f"received {received[:12]}…; {remedy}"
        )


def verify_files(stored: StoredModel) -> None:
    """Compare all files of a version with the digests on its card.

    Raises:
        ModelCorruptError: One of them cannot be read, or is another.
    """
    card = stored.card
    files = (
        (MODEL_FILE, card.sha256),
        (LAYERS_FILE, card.module_sha256),
        (ROWS_FILE, card.rows_sha256),
        (OOD_FILE, card.ood.sha256 if card.ood is not None else None),
    )
    for name, expected in files:
        if expected is not None:
            verify(stored, stored.path / name, expected)


def _card_digest(place: Path) -> str | None:
    """The digest that the card was stored with; None for a card that was stored before there were digests."""
    try:
        return (place / CARD_DIGEST_FILE).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"({error.strerror or error})"
