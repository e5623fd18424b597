"""Load on the operator: many requests at once on a real API server, where no container runs. See `__main__`."""
