"""The only rooms that touch the outside: Kubernetes, and TCP for probes."""
