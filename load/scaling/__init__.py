"""How many replicas a load needs: a queueing simulation whose costs are fitted to what `thinned load` measured."""
