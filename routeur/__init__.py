"""A reverse proxy for LLM APIs that copies bytes."""

__version__ = "0.1.0"
