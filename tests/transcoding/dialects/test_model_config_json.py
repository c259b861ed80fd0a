"""Model configurations, with protobuf's own JSON as the oracle."""

from __future__ import annotations

import math
import struct
from typing import Any

import orjson
import pytest
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as pb

from transcoding.dialects.model_config_json import STRINGS, config_json

BATCHED = """
name: "m" backend: "python" max_batch_size: 8
version_policy { specific { versions: 3 versions: 4 } }
input { name: "I" data_type: TYPE_INT32 dims: -1 dims: 16 reshape { shape: 4 shape: 4 } }
output { name: "O" data_type: TYPE_FP32 dims: 1 label_filename: "labels.txt" }
dynamic_batching {
  preferred_batch_size: 4 max_queue_delay_microseconds: 100 priority_levels: 2 default_priority_level: 1
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 18446744073709551615 }
  priority_queue_policy { key: 10 value { max_queue_size: 4 } }
  priority_queue_policy { key: 2 value { default_timeout_microseconds: 7 } }
}
instance_group { count: 1 kind: KIND_GPU gpus: 0 secondary_devices { kind: KIND_NVDLA device_id: 7 } }
optimization { cuda { graphs: true graph_spec { batch_size: 1 input { key: "I" value { dim: 9 } } } } }
parameters { key: "b" value { string_value: "2" } } parameters { key: "a" value { string_value: "1" } }
model_warmup { name: "w" inputs { key: "I" value { data_type: TYPE_FP32 dims: 4 random_data: true } } }
"""
SEQUENCE = """
sequence_batching { direct { max_queue_delay_microseconds: 3 minimum_slot_utilization: 0.1 }
  state { input_name: "i" dims: 2 initial_state { data_type: TYPE_INT32 dims: 5 zero_data: true name: "z" } } }
"""
ENSEMBLE = """
ensemble_scheduling { step { model_name: "x" model_version: -1 input_map { key: "a" value: "b" } } }
"""


def config(text: str) -> Any:
    return text_format.Parse(text, pb.ModelConfig())


def numbers_as_triton(value: object) -> object:
    """Strings of digits as numbers: what Triton does to protobuf's JSON, were it done everywhere."""
    if isinstance(value, dict):
        return {key: numbers_as_triton(one) for key, one in value.items()}
    if isinstance(value, list):
        return [numbers_as_triton(one) for one in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


@pytest.mark.parametrize("text", [BATCHED, SEQUENCE, ENSEMBLE])
def test_the_whole_is_protobufs_json_with_numbers(text: str) -> None:
    oracle = json_format.MessageToDict(
        config(text), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert numbers_as_triton(config_json(config(text))) == numbers_as_triton(oracle)


def test_64_bit_fields_are_numbers_but_for_three() -> None:
    printed = config_json(config(BATCHED))
    sequence = config_json(config(SEQUENCE))["sequence_batching"]
    ensemble = config_json(config(ENSEMBLE))["ensemble_scheduling"]
    assert printed["input"][0]["dims"] == [-1, 16]
    assert printed["input"][0]["reshape"] == {"shape": [4, 4]}
    assert printed["version_policy"] == {"specific": {"versions": [3, 4]}}
    assert printed["dynamic_batching"]["default_queue_policy"]["default_timeout_microseconds"] == 2**64 - 1
    assert list(printed["dynamic_batching"]["priority_queue_policy"]) == ["2", "10"]
    assert ensemble["step"][0]["model_version"] == -1
    assert printed["model_warmup"][0]["inputs"]["I"]["dims"] == [4]
    assert sequence["state"][0]["dims"] == [2]
    assert sequence["state"][0]["initial_state"][0]["dims"] == ["5"]
    assert printed["instance_group"][0]["secondary_devices"][0]["device_id"] == "7"
    assert printed["optimization"]["cuda"]["graph_spec"][0]["input"]["I"]["dim"] == ["9"]


def test_the_string_fields_exist() -> None:
    pool = pb.DESCRIPTOR.pool
    assert all(pool.FindFieldByName(name).cpp_type == 2 for name in STRINGS), "int64"


def test_defaults_are_printed_in_the_order_of_the_proto() -> None:
    assert orjson.dumps(config_json(config('name: "m"'))) == (
        b'{"name":"m","platform":"","backend":"","runtime":"","max_batch_size":0,"input":[],"output":[],"batch_input":[],'
        b'"batch_output":[],"instance_group":[],"default_model_filename":"","cc_model_filenames":{},"metric_tags":{},'
        b'"parameters":{},"model_warmup":[]}'
    )


def test_an_enum_value_from_a_newer_proto_is_its_number() -> None:
    message = pb.ModelConfig()
    message.input.add().data_type = 99
    assert config_json(message)["input"][0]["data_type"] == 99


@given(st.floats(width=32))
def test_floats_are_the_shortest_that_read_back(value: float) -> None:
    message = pb.ModelConfig()
    message.sequence_batching.direct.minimum_slot_utilization = value
    printed = config_json(message)["sequence_batching"]["direct"]["minimum_slot_utilization"]
    if math.isfinite(value):
        assert struct.pack("<f", printed) == struct.pack("<f", value) or value == printed == 0
        assert len(repr(float(printed))) <= len(repr(value))
    else:
        assert printed in ("Infinity", "-Infinity", "NaN")


@pytest.mark.parametrize("value", [0.1, 0.5, 1e-7, 16777216.0])
def test_floats_as_protobuf_prints_them(value: float) -> None:
    message = pb.ModelConfig()
    message.sequence_batching.direct.minimum_slot_utilization = value
    oracle = json_format.MessageToDict(message, preserving_proto_field_name=True)
    printed = config_json(message)["sequence_batching"]["direct"]["minimum_slot_utilization"]
    assert printed == oracle["sequence_batching"]["direct"]["minimum_slot_utilization"]
