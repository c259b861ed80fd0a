"""Metadata of servers and models."""

from __future__ import annotations

from tritonclient.grpc import service_pb2 as pb

from transcoding.dialects.oip_management import OPERATIONS


def test_server_metadata() -> None:
    reply = pb.ServerMetadataResponse(name="triton", version="2.51.0", extensions=["classification", "logging"])
    assert OPERATIONS["server_metadata"].render(reply.SerializeToString()) == (
        b'{"name":"triton","version":"2.51.0","extensions":["classification","logging"]}'
    )


def test_model_metadata_to_the_byte() -> None:
    reply = pb.ModelMetadataResponse(name="ens", versions=["1"], platform="ensemble")
    reply.inputs.add(name="X", datatype="FP32", shape=[-1, 16])
    reply.outputs.add(name="Y", datatype="FP32", shape=[])
    assert OPERATIONS["model_metadata"].render(reply.SerializeToString()) == (
        b'{"name":"ens","versions":["1"],"platform":"ensemble","inputs":[{"name":"X","datatype":"FP32","shape":[-1,16]}],'
        b'"outputs":[{"name":"Y","datatype":"FP32","shape":[]}]}'
    )
