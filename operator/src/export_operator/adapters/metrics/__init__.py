"""What the process tells of itself and of the cluster at /metrics, in the formats of Prometheus and OpenMetrics. Names
of the platform team's objects stand there; no tenant's, and no secret."""

from export_operator.adapters.metrics.outbox import OutboxCollector
from export_operator.adapters.metrics.process import Metrics
from export_operator.adapters.metrics.purposes import purpose_of
from export_operator.adapters.metrics.resources import ResourceCollector
from export_operator.adapters.metrics.totals import TotalsCollector

__all__ = ["Metrics", "OutboxCollector", "ResourceCollector", "TotalsCollector", "purpose_of"]
