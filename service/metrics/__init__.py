"""What a worker counts and measures of itself, kept in its own memory, and summed over the workers of a service."""

from thinned.service.metrics.service_metrics import Metrics

__all__ = ["Metrics"]
