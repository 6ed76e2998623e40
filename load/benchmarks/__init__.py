"""What `make bench`, `bench-service` and `bench-sampling` measure: the engine, the HTTP path, stratified passes."""
