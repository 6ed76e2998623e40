"""Every private name of Keras, TensorFlow and BentoML that the project uses: one file for each library."""
