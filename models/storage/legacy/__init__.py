"""Files of earlier Keras: HDF5, and archives of Keras 2. Read apart, with limits, and made into a Keras 3 archive."""
