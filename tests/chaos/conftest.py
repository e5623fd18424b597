"""The servers of the exporter's integration tests."""

from tests.integration.exporter.conftest import exporter, postgres, proxies, s3, spare, stormy, tls_postgres

__all__ = ["exporter", "postgres", "proxies", "s3", "spare", "stormy", "tls_postgres"]
