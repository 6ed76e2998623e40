"""What `thinned load` measures: the plan, one measurement, its record, and the results of all as one document."""
