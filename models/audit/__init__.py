"""Is dropout correct in this model, and what does it do there? Measured on the model itself."""
