"""Studies of the uncertainty's quality: UCI regression sets, out-of-distribution digits, coverage of intervals."""
