"""What each score is called, what it says, and which way is better."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Meaning", "meaning_of"]


@dataclass(frozen=True)
class Meaning:
    """A score in words: its name, which way is better, and its definition in one line."""

    words: str
    better: str
    definition: str

    @property
    def short(self) -> str:
        """Which way is better, in a word or two: "lower", "near 90%"."""
        percent = re.search(r"[0-9.]+%", self.better)
        return self.better.partition(" ")[0] if percent is None else f"near {percent[0]}"


_LOWER, _HIGHER = "lower is better", "higher is better"
_SCORES = {
    "rmse": ("root mean squared error", _LOWER, "square root of the mean squared error, in units of the target"),
    "pinball": (
        "pinball loss",
        _LOWER,
        "mean over the levels of the quantile loss, in units of the target; the true quantiles have the least",
    ),
    "quantile_coverage": (
        "coverage of the outermost quantiles",
        "near the difference of their levels is best",
        "share of targets between the lowest and the highest quantile, as the model answers them",
    ),
    "quantile_width": ("width of the outermost quantiles", _LOWER, "mean width of these, in units of the target"),
    "mae": ("mean absolute error", _LOWER, "mean distance of the answer from the target, in units of the target"),
    "r2": ("R²", _HIGHER, "share of the target's variance that is explained; 0 is as good as the targets' mean"),
    "log_likelihood": (
        "log-likelihood",
        _HIGHER,
        "mean logarithm of the predictive density at the target, in nats; a normal about each pass where the noise of "
        "the data is known, else one normal as wide as the passes",
    ),
    "crps": (
        "CRPS",
        _LOWER,
        "continuous ranked probability score of a normal with the predictive mean and variance, in units of the "
        "target; the absolute error where there is no variance",
    ),
    "error_rank_correlation": (
        "rank correlation of error and uncertainty",
        _HIGHER,
        "Spearman's correlation of the absolute error with the predictive variance: whether large errors are announced",
    ),
    "accuracy": ("accuracy", _HIGHER, "share of answers whose most probable class is the true one"),
    "nll": ("negative log-likelihood", _LOWER, "mean of -ln(probability of the true class), in nats"),
    "brier": ("Brier score", _LOWER, "squared error of the probabilities, summed over classes; from 0 to 2"),
    "ece": (
        "expected calibration error",
        _LOWER,
        "mean distance of accuracy from confidence in 15 bins of confidence; it is above 0 on few rows whatever the "
        "model",
    ),
    "area_under_risk_coverage": (
        "area under risk and coverage",
        _LOWER,
        "error rate among the surest answers, averaged over all shares that may be answered; sorted by entropy",
    ),
    "area_under_squared_error": (
        "area under squared error and coverage",
        _LOWER,
        "mean squared error among the surest answers, averaged over all shares that may be answered; sorted by the "
        "predictive variance, in squared units of the target",
    ),
    "auroc_error_entropy": (
        "errors told by entropy",
        _HIGHER,
        "probability that a wrong answer has more entropy than a right one (area under the ROC curve); 0.5 is chance",
    ),
    "auroc_error_mutual_information": (
        "errors told by mutual information",
        _HIGHER,
        "the same by mutual information, the part of the entropy that comes of passes that disagree",
    ),
    "auroc_strange_entropy": (
        "--ood rows told by entropy",
        _HIGHER,
        "probability that a row of --ood has more entropy than one of --data; 0.5 is chance",
    ),
    "auroc_strange_mutual_information": (
        "--ood rows told by mutual information",
        _HIGHER,
        "the same by mutual information",
    ),
    "auroc_strange_deviation": (
        "--ood rows told by the passes' spread",
        _HIGHER,
        "probability that the passes differ more on a row of --ood than on one of --data; 0.5 is chance",
    ),
    "iou": (
        "IoU by image",
        _HIGHER,
        "intersection over union, averaged over the classes in target or prediction of an image, then over images",
    ),
    "error_rank_correlation_by_image": (
        "images ranked by entropy",
        _HIGHER,
        "Spearman's correlation over images of 1 - IoU with mean entropy: whether bad maps are announced",
    ),
}
_AT_COVERAGE = {
    "coverage": (
        "coverage of normal {} intervals",
        "nearer to {} is better",
        "share of targets in mean ± {z} predictive deviations; such intervals are not served, those of a calibrated "
        "model are",
    ),
    "width": ("width of normal {} intervals", _LOWER, "mean width of these, in units of the target"),
    "conformal_coverage": (
        "coverage of served {} intervals",
        "{} or a little more is best",
        'share of targets in the intervals that /predict_mc answers for "coverage": {share}',
    ),
    "conformal_width": ("width of served {} intervals", _LOWER, "mean width of these, in units of the target"),
    "set_coverage": (
        "coverage of served {} sets",
        "{} or a little more is best",
        'share of true classes in the prediction sets that /predict_mc answers for "coverage": {share}',
    ),
    "set_size": ("size of served {} sets", _LOWER, "mean number of classes in these; below 1 where some are empty"),
}
_QUANTILES = {"0.8": "1.282", "0.9": "1.645", "0.95": "1.960"}


def meaning_of(score: str) -> Meaning:
    """The words for a score by its name in `evaluation.json`."""
    if score in _SCORES:
        return Meaning(*_SCORES[score])
    at = re.fullmatch(r"(.+)_(0\.\d+)", score)
    if at is None or at[1] not in _AT_COVERAGE:
        return Meaning(score.replace("_", " "), "", "")
    percent = f"{100 * float(at[2]):g}%"
    told = (part.format(percent, share=at[2], z=_QUANTILES.get(at[2], "z")) for part in _AT_COVERAGE[at[1]])
    return Meaning(*told)
