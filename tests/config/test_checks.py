"""What must hold between the parts of a configuration."""

from __future__ import annotations

import pytest

from config.checks import check, listener_name, route_name
from config.decode import HOLE
from tests.support.configurations import config_with, mistakes, mistakes_with, text_with


def routes(*written: str) -> list[str]:
    return mistakes_with(routes=f"[{', '.join(f'{{match: {{model: {m}}}, to: main}}' for m in written)}]")


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


def test_an_unknown_picker() -> None:
    assert mistakes_with(pools="{main: {endpoints: [a:1], pick: least_inflght}}") == [
        "pools.main.pick: expected one of: least_inflight, round_robin; got 'least_inflght'; "
        "did you mean 'least_inflight'?"
    ]
    assert list(check(config_with(), ["random"])) == [
        (("pools", "main", "pick"), "expected one of: random; got 'least_inflight'")
    ]


def test_an_endpoint_twice_in_a_pool() -> None:
    assert mistakes_with(pools="{main: {endpoints: [gpu-0:1, gpu-1:1, {address: GPU-0:1}]}}") == [
        "pools.main.endpoints[2]: expected each endpoint once, got 'GPU-0:1' again, as in pools.main.endpoints[0]"
    ]
    assert mistakes_with(pools="{main: {endpoints: [a:1]}, more: {endpoints: [a:1]}}") == []


def test_a_route_to_a_pool_that_is_not_there() -> None:
    text = text_with(pools="{vision: {endpoints: [a:1]}, local: {endpoints: [a:2]}}")
    pool = "expected the name of a pool (one of: vision, local), got 'visoin'; did you mean 'vision'?"
    column = text.splitlines()[2].index("main") + 1
    assert mistakes(text.replace("to: main", "to: visoin")) == [f"3:{column}: routes[0].to: {pool}"]
    written_out = text.replace("to: main", "to: {pool: visoin}")
    assert mistakes(written_out) == [f"3:{column + len('{pool: ')}: routes[0].to.pool: {pool}"]


def test_a_pool_with_mistakes_is_there_all_the_same() -> None:
    assert mistakes_with(pools="{main: {endpoints: 5}}") == ["pools.main.endpoints: expected a list, got 5"]
    assert mistakes_with(pools="5") == ["pools: expected a mapping from names, got 5"]


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


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("resnet", "resnet"),
        ('"*"', "resnet"),
        ('"*"', '"*"'),
        ('"*"', '"a?[bc]*"'),
        ("res*", "resnet"),
        ("res*", '"resnet-*"'),
        ('"res?et"', '"res[mn]et"'),
        ('"[ab]*"', "b"),
    ],
)
def test_a_route_that_an_earlier_one_leaves_nothing_to(earlier: str, later: str) -> None:
    assert routes(earlier, "other", later)[-1] == (
        "routes[2].match.model: expected a model that no earlier route takes, got "
        f"'{later.strip(chr(34))}', which routes[0] takes by '{earlier.strip(chr(34))}'"
    )


@pytest.mark.parametrize(
    "written",
    [["resnet", '"*"'], ["resnet", "resnet5", "res*"], ['"resnet-*"', "res*"], ['"a*b"', '"a*c"'], ["a", "A"]],
)
def test_routes_that_leave_something_to_each_other(written: list[str]) -> None:
    assert routes(*written) == []


def test_each_dead_pattern_of_a_list_is_named() -> None:
    assert [line.split(":")[0] for line in routes("[a, b, a]", "[c, b, d*, d1]")] == [
        "routes[0].match.model[2]",
        "routes[1].match.model[1]",
        "routes[1].match.model[3]",
    ]


@pytest.mark.parametrize("part", ["listen", "pools", "routes", "admin", "drain"])
@pytest.mark.parametrize("value", ["5", "[]", "{}", "[5]", "{a: 5}", "[{}]", "{a: {}}", "[[{}]]", "null"])
def test_parts_that_cannot_be_read_do_not_stop_the_checks(part: str, value: str) -> None:
    parts = {"pools": "{main: {endpoints: [a:1], pick: nobody}}", part: value}
    found = mistakes_with(**parts)
    assert part == "pools" or any("got 'nobody'" in line for line in found)
