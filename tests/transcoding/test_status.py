"""Codes and their HTTP statuses."""

from __future__ import annotations

import grpc
import pytest

from transcoding.status import HTTP_STATUS, Code, Fault, GatewayError, invalid


def test_codes_are_grpcs() -> None:
    assert {code.name: int(code) for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.UNKNOWN, 400),
        (Code.INTERNAL, 500),
        (Code.NOT_FOUND, 404),
        (Code.INVALID_ARGUMENT, 400),
        (Code.UNAVAILABLE, 503),
        (Code.UNIMPLEMENTED, 501),
        (Code.ALREADY_EXISTS, 400),
        (Code.CANCELLED, 400),
    ],
)
def test_the_statuses_of_tritons_codes_are_tritons(code: Code, status: int) -> None:
    assert GatewayError(code, "x").http_status == status


def test_every_code_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(Code)


def test_a_status_can_be_set_apart_from_the_code() -> None:
    error = GatewayError(Code.INTERNAL, "x", http_status=502, fault=Fault.WORKER, executed=True, retry_after=1.5)
    assert (error.http_status, error.fault, error.executed, error.retry_after) == (502, Fault.WORKER, True, 1.5)
    assert repr(error) == "GatewayError(INTERNAL, 502, 'x')"
    assert str(error) == "x"


def test_invalid_is_the_clients_mistake() -> None:
    error = invalid("no")
    assert (error.code, error.http_status, error.fault, error.executed) == (
        Code.INVALID_ARGUMENT,
        400,
        Fault.CLIENT,
        False,
    )


def test_an_error_for_another_is_the_same_and_another_object() -> None:
    class Special(GatewayError):
        def __init__(self, what: str) -> None:
            super().__init__(Code.NOT_FOUND, what, fields=[(b"a", b"b")])

    error = Special("gone")
    other = error.again()
    assert other is not error
    assert (type(other), str(other), vars(other)) == (Special, "gone", vars(error))
