"""Triton kernels of a decode step, one op per file: jit kernel, launcher, torch reference."""
