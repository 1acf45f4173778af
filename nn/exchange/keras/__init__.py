"""Keras, in and out, without Keras: its three kinds of files are read and written here."""
