"""Pool NumPy arrays exactly: public functions, window arithmetic, tiles and kernels."""
