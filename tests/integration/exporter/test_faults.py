"""Every line of the table of faults is as it says. Its long ones run in `make chaos`."""

import pytest

from tests.integration.exporter.fault import Fault
from tests.integration.exporter.fault_page import PAGE, page
from tests.integration.exporter.faults import FAULTS
from tests.integration.exporter.runner import Exporter
from tests.integration.exporter.strikes import ends_as_told
from tests.services.host import PostgresServer
from tests.services.proxies import Toxiproxy

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS if not fault.long])
def test_a_fault_ends_as_the_table_says_and_leaves_nothing(
    fault: Fault, exporter: Exporter, proxies: Toxiproxy, tls_postgres: PostgresServer
) -> None:
    ends_as_told(fault, exporter, proxies, tls_postgres)


def test_the_page_of_faults_is_rendered_from_the_table() -> None:
    assert PAGE.read_text() == page(), "python -m tests.integration.exporter.fault_page > docs/operations/faults.md"
