"""The operator without a cluster: decisions, queue, caches, settings."""
