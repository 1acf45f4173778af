"""What a model file holds, its formats HDF5 and NPZ, and how files are written whole."""
