"""Long trials of a real service under attack, outside of `make test`: `make faults`. Loopback only, and bounded."""
