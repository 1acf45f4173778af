"""Kernels for the processor."""
