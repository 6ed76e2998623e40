"""What `thinned score` does: a data set cut into parts, each part answered and written by itself, on any engine."""
