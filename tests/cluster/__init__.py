"""A real Kubernetes cluster for the demo and the tests, wherever they run.

For people: `python -m tests.cluster --help`. For programs:

- `tests.cluster.providers.up()` starts a cluster, `.running()` finds it, `.environment(cluster)` is what a child
  process needs to reach it;
- `tests.cluster.images.build_and_load()` builds this repository's images and gives their names;
- `tests.cluster.tools.path("helm")` is where a tool is, built on demand.

Only the standard library is used here: this package runs before anything is installed.
"""
