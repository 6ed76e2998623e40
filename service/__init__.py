"""Everything about serving a model: engine, HTTP and command line. Knows nothing of layers."""
