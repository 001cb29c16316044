"""Triton kernels, one op per file: kernel, launcher, torch reference. They go under `cl_engine.ops`."""
