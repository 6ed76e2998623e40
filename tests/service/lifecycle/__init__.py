"""How the service begins, changes its model, loses a worker, and ends, under steady requests."""
