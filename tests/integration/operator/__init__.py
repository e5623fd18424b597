"""The operator's adapters against a real API server."""
