"""What `thinned load` measures: the plan, one measurement, its record, and one JSON document of all results."""
