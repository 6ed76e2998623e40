"""The load laboratory: Locust users, the sweep over sample counts, and its report."""
