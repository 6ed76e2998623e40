"""Load tests, benchmarks and studies, imported as `thinned.loadtest`; the service does not need them."""
