"""ONNX, out and in, without the package `onnx`: the file format is read and written here."""
