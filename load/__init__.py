"""The load laboratory, imported as `thinned.loadtest`: users, sweep, reports, benchmarks, studies."""
