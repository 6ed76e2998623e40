"""`make bench-rivals`: other servers of the same network, measured in one run beside Thinned."""
