"""Two models on real data that scikit-learn bundles, trained in seconds: `digits` and `diabetes`."""
