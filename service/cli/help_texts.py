"""The help texts of `thinned`, to learn it from. A backspace at a paragraph's start keeps its line breaks."""

from __future__ import annotations

__all__ = ["ALIAS", "DELETE", "IMPORT", "MODELS", "PREDICT", "ROLLBACK", "SERVE", "SHOW", "THINNED", "TRAIN"]

THINNED = """Serve any Keras model; ask it for an answer, or for an answer with its uncertainty.

The uncertainty is that of Monte Carlo dropout: the network is asked many times, each time with other units
dropped, and the mean and variance of its answers are returned.

\b
To start, with an example:
  thinned train digits
  thinned predict digits --input images.npy --n-samples 50
  thinned serve digits

\b
With a model of your own, saved with model.save("my_model.keras"):
  thinned import my_model.keras --name mine --task regression
  thinned show mine
  thinned serve mine

Models are kept in BentoML's model store (BENTOML_HOME, or ~/bentoml). `thinned COMMAND --help` says more of each.
"""

TRAIN = """Train an example, digits or diabetes, and store it.

The data is what scikit-learn brings along; the test scores are printed at the end.

\b
digits    which digit is on an 8x8 image: a convolutional network (classification)
diabetes  how far a disease goes in a year, from 10 measurements: a dense network (regression)

Takes seconds, and gives the same model each time on the same machine.

\b
Example:
  thinned train digits
"""

IMPORT = """Bring your own Keras model into the store.

The file is looked into, the places where the model draws noise are found, and its card is written.

Files of earlier Keras (.h5, and .keras of Keras 2) are converted; the card says so. No Python code from inside a file
(Lambda layers) is ever run.

\b
Examples:
  thinned import house.keras --name house --task regression
  thinned import pets.keras --name pets --task classification --labels cat,dog
  thinned import net.keras --name net --task classification --scale logits --module my_layers
  thinned import two.keras --name two --task age=regression --task sex=classification
  thinned import houses.keras --task regression --feature-names rooms,area,year
  thinned import old.h5 --name old --task regression --expect outputs.npz
"""

MODELS = """List the models in the store.

\b
Example:
  thinned models
"""

SHOW = """Show what a model takes, answers, and where it draws noise.

It is all on the model's card, as is how much of the model runs once.

The part before the first noise gives the same in every pass, so it runs once for a request, however many passes
are asked for; the more of the work stands there, the cheaper a pass.

\b
Example:
  thinned show digits
"""

PREDICT = """Ask a model without a server.

Without --n-samples the answer is deterministic; with it, the mean and variance over that many passes.

\b
Examples:
  thinned predict digits --input images.npy
  thinned predict digits --input images.npy --n-samples 50 --seed 7
  thinned predict diabetes --input patients.csv --n-samples 100 --json
  thinned predict mine --input rows.parquet --coverage 0.9 --output answers.csv
  cat rows.csv | thinned predict mine --input -
"""

SERVE = """Serve models over HTTP.

The first of several answers where no name is given, each at /models/NAME. NAME@shadow, or a second version of a
model, answers the same rows unseen: /models/NAME/comparison says how far the two disagree.

Without a name it is the example digits, trained first if the store has none.

Limits are set by the environment, such as THINNED_MAX_ROWS=64; --show-settings lists them all.

\b
Examples:
  thinned serve
  thinned serve mine --port 8080 --workers 2
  thinned serve mine other next@shadow
  THINNED_MAX_SAMPLES=200 thinned serve --show-settings
"""

DELETE = """Delete a model, or one version of it.

All versions, unless one is named (NAME:VERSION). Asks before it does.

\b
Examples:
  thinned delete mine
  thinned delete mine:5x2kq7bd3ok6qusu --yes
"""

ALIAS = """Have an alias point to a version, such as the one that is live.

NAME@ALIAS stands for that version wherever a NAME is taken, THINNED_MODEL included. An alias moves when it is set
again; a version cannot be deleted while one points to it.

\b
Examples:
  thinned alias house:k5lq2hwbccb4xcft live
  thinned serve house@live
  thinned alias house live --remove
"""

ROLLBACK = """Go back to the version before the latest one.

NAME alone then stands for the version that was made before. The newer one stays in the store, and can be asked for as
NAME:VERSION; aliases stay where they point.

\b
Example:
  thinned rollback house
"""
