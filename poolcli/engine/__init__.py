"""Exact pooling of NumPy arrays: window arithmetic, tiles, kernels, and the public functions."""
