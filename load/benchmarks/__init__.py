"""Benchmarks of the engine, the HTTP path and stratified passes: `make bench`, `bench-service`, `bench-sampling`."""
