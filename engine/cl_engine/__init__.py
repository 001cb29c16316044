"""The resident engine: prompts, KV reuse, decoding and the HTTP server. Never imports `cl_lsp`."""

__version__ = "0.1.0"
