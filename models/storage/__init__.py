"""From a `.keras` file to a stored model and back: safe reading, custom layers, output tasks, the model store."""
