"""Where notifications may go on the network."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.addresses import refusal

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert refusal(address, ()) == ""


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # the metadata service of clouds
        "fd00:ec2::254",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "localhost",
        "2130706433",
        "",
    ],
)
def test_everything_else_is_refused_however_it_is_written(address: str) -> None:
    assert refusal(address, ()) != ""


def test_networks_that_the_platform_team_allows_are_permitted() -> None:
    assert refusal("10.20.3.4", ("10.20.0.0/16",)) == ""
    assert refusal("::ffff:10.20.3.4", ("10.20.0.0/16",)) == ""
    assert refusal("fd12::1", ("10.20.0.0/16", "fd12::/16")) == ""
    assert refusal("10.21.3.4", ("10.20.0.0/16",)) != ""
    assert refusal("10.20.3.4", ("10.20.0.0/99",)) != ""


@given(st.integers(0, 2**32 - 1))
def test_an_address_is_judged_alike_in_ipv4_and_mapped_into_ipv6(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    assert bool(refusal(str(address), ())) == bool(refusal(f"::ffff:{address}", ()))
    assert bool(refusal(str(address), ())) == bool(refusal(str(ipaddress.IPv6Address((0x64FF9B << 96) | number)), ()))
