"""Longer studies of what the uncertainty is worth: UCI regression sets, unfamiliar digits, coverage of intervals."""
