"""Where a Keras model draws noise: which layers draw and how, finding them, and replacing their draws while tracing."""
