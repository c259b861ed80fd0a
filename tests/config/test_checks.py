"""What must hold between the parts of a configuration."""

from __future__ import annotations

import pytest

from config.checks import listener_name, route_name
from config.hole import HOLE
from tests.support.configurations import config_with, mistakes_with


def test_a_good_configuration_has_no_mistakes() -> None:
    assert mistakes_with() == []


@pytest.mark.parametrize("second", ["0.0.0.0:8080", "0.0.0.0:08080"])
def test_two_listeners_on_one_address(second: str) -> None:
    assert mistakes_with(listen=f"[{{address: 0.0.0.0:8080}}, {{address: {second}}}]") == [
        f"listen[1].address: expected an address of its own, got '{second}', where listen[0].address listens already"
    ]


def test_one_port_on_two_addresses_is_fine() -> None:
    assert mistakes_with(listen="[{address: 10.0.0.1:8080}, {address: 10.0.0.2:8080}]") == []


def test_lists_name_each_value_once() -> None:
    listen = "[{address: a:1, apis: [inference, metadata, inference], forward_headers: [x-a, X-A]}]"
    assert mistakes_with(listen=listen) == [
        "listen[0].apis[2]: expected each value once, got 'inference' again, as in listen[0].apis[0]",
        "listen[0].forward_headers[1]: expected each value once, got 'x-a' again, as in listen[0].forward_headers[0]",
    ]


def test_one_address_may_not_have_more_connections_than_all() -> None:
    listen = "[{address: a:1, limits: {connections: 100, connections_per_address: 101}}]"
    assert mistakes_with(listen=listen) == [
        "listen[0].limits.connections_per_address: expected at most `connections`, which is 100, got 101"
    ]
    assert mistakes_with(listen=listen.replace("101", "100")) == []


@pytest.mark.parametrize("address", ["127.0.0.1:9901", "'[::1]:9901'", "localhost:9901", "unix:/run/admin.sock"])
def test_admin_on_this_machine_only(address: str) -> None:
    assert mistakes_with(admin=address) == []


@pytest.mark.parametrize("address", ["0.0.0.0:9901", "'[::]:9901'", "10.0.0.1:9901", "gateway.example:9901"])
def test_admin_reachable_from_elsewhere(address: str) -> None:
    assert mistakes_with(admin=address) == [
        "admin: the admin port has no authentication yet; expected a loopback address or unix:/path, got "
        + f"'{address.strip(chr(39))}'"
    ]
    assert mistakes_with(admin=f"{{address: {address}}}")[0].startswith("admin.address: ")


@pytest.mark.parametrize("listen", ["0.0.0.0:9901", "127.0.0.1:9901"])
def test_admin_on_the_port_of_a_listener(listen: str) -> None:
    assert mistakes_with(listen=f"[{{address: {listen}}}]", admin="127.0.0.1:9901") == [
        "admin: expected a port of its own, got 9901, where listen[0] listens already"
    ]


def test_admin_on_the_port_of_a_listener_elsewhere_is_fine() -> None:
    assert mistakes_with(listen="[{address: 10.0.0.1:9901}]") == []


def test_names_are_unique() -> None:
    named = "[{name: a, match: {model: x}, to: main}, {match: {model: a}, to: main}]"
    assert mistakes_with(routes=named) == [
        "routes[1]: expected a name of its own, got 'a', which routes[0].name has already"
    ]
    assert mistakes_with(listen="[{address: a:1, name: b}, {address: a:2, name: b}]") == [
        "listen[1].name: expected a name of its own, got 'b', which listen[0].name has already"
    ]


def test_names_that_nobody_wrote() -> None:
    config = config_with()
    assert listener_name(config.listen[0]) == "0.0.0.0:8080"
    assert route_name(config.routes[0]) == "*"
    assert listener_name(HOLE) is HOLE


@pytest.mark.parametrize("part", ["listen", "pools", "routes", "policies", "labels", "admin", "drain"])
@pytest.mark.parametrize("value", ["5", "[]", "{}", "[5]", "{a: 5}", "[{}]", "{a: {}}", "[[{}]]", "null"])
def test_parts_that_cannot_be_read_do_not_stop_the_checks(part: str, value: str) -> None:
    parts = {"pools": "{main: {endpoints: [a:1], pick: nobody}}", part: value}
    found = mistakes_with(**parts)
    assert part == "pools" or any("got 'nobody'" in line for line in found)
