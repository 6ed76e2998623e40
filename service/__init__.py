"""The BentoML service and the `thinned` command."""
