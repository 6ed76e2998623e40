"""Load on a running service: Locust users, and a run that ends in a table."""
