"""The product on a cluster, as the demo and the end-to-end tests use it: installed, with data, tenants and a way in."""
