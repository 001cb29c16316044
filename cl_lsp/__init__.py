"""The language server: editors on one side, an engine over HTTP on the other. No torch."""

__version__ = "0.1.0"
