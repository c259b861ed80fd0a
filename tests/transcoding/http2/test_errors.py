"""Error codes and the error that ends a connection."""

from __future__ import annotations

from h2.errors import ErrorCodes

from transcoding.http2.errors import ErrorCode, ProtocolError


def test_the_codes_are_those_of_the_rfc_as_h2_has_them() -> None:
    assert {code.name: code.value for code in ErrorCode} == {code.name: code.value for code in ErrorCodes}


def test_a_protocol_error_carries_code_and_reason() -> None:
    error = ProtocolError(ErrorCode.COMPRESSION_ERROR, "why")
    assert (error.code, error.reason, repr(error)) == (9, "why", "ProtocolError(COMPRESSION_ERROR, 'why')")
