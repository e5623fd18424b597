"""The export-operator: finds out who asks, enforces quotas, launches one Job a run and reports what became of it."""

__version__ = "0.1.0"
