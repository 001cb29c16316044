"""Triton kernels, one op per file: kernel, launcher, torch reference (none yet)."""
