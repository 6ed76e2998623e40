"""Everything about a model: where it draws noise, what its passes say, its card and its place in the store. No HTTP."""
