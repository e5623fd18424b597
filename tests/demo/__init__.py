"""The demo: 100,000 users exported on a real cluster, as a tenant would, and checked against PostgreSQL itself."""
