"""The descriptor set: complete, ordered, and with an HTTP rule that reads back as the published one."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from loadtests.peers.envoy_descriptor import INFER_PATH, SERVICE, descriptor_set


def files() -> list[FileDescriptorProto]:
    return list(FileDescriptorSet.FromString(descriptor_set()).file)


def test_files_come_after_their_imports() -> None:
    pool = DescriptorPool()
    for file in files():
        pool.Add(file)  # type: ignore[no-untyped-call]
    assert pool.FindServiceByName(SERVICE).methods_by_name["ModelInfer"].input_type.name == "ModelInferRequest"


def test_only_infer_has_a_rule() -> None:
    """The bytes of google.api.http = {post: INFER_PATH, body: "*"}: field 72295728, then fields 4 and 7."""
    service = files()[-1].service[0]
    rules = {method.name: method.options.SerializeToString() for method in service.method}
    rule = b"\x22" + bytes([len(INFER_PATH)]) + INFER_PATH.encode() + b"\x3a\x01*"
    assert rules.pop("ModelInfer") == b"\x82\xd3\xe4\x93\x02" + bytes([len(rule)]) + rule
    assert set(rules.values()) == {b""}
