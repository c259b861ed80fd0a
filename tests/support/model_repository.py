"""Writes a Triton model repository for tests: the code in `tests/models/`, with a configuration made here for each.

`MODELS` names them all; many share their code and differ only in datatype or scheduling. `write_repository` puts those
that a test asks for into a directory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CODE = Path(__file__).resolve().parent.parent / "models"

# The name in `id_<name>` and the datatype in a model's configuration.
IDENTITIES = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind, bits in (("fp", 16), ("bf", 16), ("fp", 32), ("fp", 64))},
    "string": "STRING",
}
LABELS = ("cat", "dog", "fish", "owl")


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, its datatype as the configuration spells it without `TYPE_`, its dimensions."""

    name: str
    datatype: str
    dims: Sequence[int]
    extra: str = ""

    def text(self) -> str:
        dims = ", ".join(map(str, self.dims))
        return f'{{ name: "{self.name}" data_type: TYPE_{self.datatype} dims: [ {dims} ] {self.extra} }}'


@dataclass(frozen=True)
class Model:
    """`code` is a file of `tests/models/`; `settings` are further lines of the configuration; `files` lie beside it."""

    code: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    max_batch_size: int = 0
    settings: str = ""
    versions: Sequence[int] = (1,)
    files: dict[str, str] = field(default_factory=dict)

    def config(self, name: str) -> str:
        """The model's `config.pbtxt`. One instance each: a model is a process."""
        return "\n".join(
            [
                f'name: "{name}"',
                'backend: "python"',
                f"max_batch_size: {self.max_batch_size}",
                *(f"input [ {tensor.text()} ]" for tensor in self.inputs),
                *(f"output [ {tensor.text()} ]" for tensor in self.outputs),
                "instance_group [ { kind: KIND_CPU count: 1 } ]",
                self.settings,
                "",
            ]
        )


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def _control(name: str, setting: str) -> str:
    return f'control_input [ {{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_{name} {setting} }} ] }} ]'


def _sequence(kind: str, controls: Sequence[str], strategy: str, idle_s: float) -> Model:
    settings = [_control(name, "int32_false_true: [ 0, 1 ]") for name in controls if name != "CORRID"]
    settings += [_control(name, "data_type: TYPE_UINT64") for name in controls if name == "CORRID"]
    batching = f"max_sequence_idle_microseconds: {round(idle_s * 1e6)} {strategy} {' '.join(settings)}"
    return Model(
        "sequence.py",
        [Tensor("INPUT", "INT32", [1])],
        [Tensor("OUTPUT", "INT32", [1])],
        max_batch_size=8,
        settings=f"sequence_batching {{ {batching} }}\n{_parameter('kind', kind)}",
    )


def _add_sub(datatype: str) -> Model:
    return Model(
        "add_sub.py",
        [Tensor(f"INPUT{i}", datatype, [16]) for i in (0, 1)],
        [Tensor(f"OUTPUT{i}", datatype, [16]) for i in (0, 1)],
        max_batch_size=8,
    )


def _identity(datatype: str, dims: Sequence[int] = (-1,), max_batch_size: int = 0, settings: str = "") -> Model:
    tensors = [Tensor("INPUT0", datatype, dims)], [Tensor("OUTPUT0", datatype, dims)]
    return Model("identity.py", *tensors, max_batch_size=max_batch_size, settings=settings)


def _one_fp32(code: str, max_batch_size: int, settings: str) -> Model:
    return Model(code, [Tensor("INPUT0", "FP32", [1])], [Tensor("OUTPUT0", "FP32", [1])], max_batch_size, settings)


def _queue(policy: str) -> str:
    return f"dynamic_batching {{ default_queue_policy {{ {policy} }} }}"


_DECOUPLED = "model_transaction_policy { decoupled: true }"

MODELS: dict[str, Model] = {
    "simple": _add_sub("INT32"),
    "simple_int8": _add_sub("INT8"),
    "simple_string": _add_sub("STRING"),
    "simple_identity": _identity("STRING", max_batch_size=8),
    **{f"id_{name}": _identity(datatype) for name, datatype in IDENTITIES.items()},
    "id_batched": _identity("FP32", max_batch_size=8, settings="dynamic_batching { }"),
    "zero_dim": _identity("FP32", dims=(-1, -1)),
    "simple_sequence": _sequence("echo", ["START", "READY"], "", idle_s=1),
    "simple_dyna_sequence": _sequence(
        "echo", ["START", "END", "READY", "CORRID"], "oldest { max_candidate_sequences: 1024 }", idle_s=10
    ),
    "sequence_sum": _sequence("sum", ["START", "END", "READY", "CORRID"], "", idle_s=3),
    "sequence_sum_many": _sequence(
        "sum", ["START", "END", "READY", "CORRID"], "oldest { max_candidate_sequences: 1024 }", idle_s=60
    ),
    "repeat_int32": Model(
        "repeat.py",
        [Tensor("IN", "INT32", [-1]), Tensor("DELAY", "UINT32", [-1]), Tensor("WAIT", "UINT32", [1])],
        [Tensor("OUT", "INT32", [1]), Tensor("IDX", "UINT32", [1])],
        settings=_DECOUPLED,
    ),
    "mock_llm": Model(
        "mock_llm.py",
        [
            Tensor("PROMPT", "STRING", [1, 1]),
            Tensor("STREAM", "BOOL", [1, 1]),
            Tensor("input_ids", "INT32", [1, -1], "optional: true"),
        ],
        [Tensor("TEXT", "STRING", [1, -1])],
        settings=_DECOUPLED,
    ),
    "params": Model("params.py", [Tensor("INPUT0", "INT32", [1])], [Tensor("OUTPUT0", "STRING", [1])]),
    "fails": Model("fails.py", [Tensor("INPUT0", "INT32", [1])], [Tensor("OUTPUT0", "INT32", [1])]),
    "slow": Model(
        "slow.py",
        [Tensor("INPUT0", "FP32", [1])],
        [Tensor("OUTPUT0", "FP32", [1]), Tensor("CANCELLED", "INT32", [1]), Tensor("RUNNING", "INT32", [1])],
    ),
    "slowq": _one_fp32("slow_serial.py", 1, _queue("max_queue_size: 2")),
    "slowt": _one_fp32(
        "slow_serial.py",
        1,
        _queue("timeout_action: REJECT default_timeout_microseconds: 5000000 allow_timeout_override: true"),
    ),
    "badload": Model("badload.py", [Tensor("INPUT0", "INT32", [1])], [Tensor("OUTPUT0", "INT32", [1])]),
    "two_versions": Model(
        "version.py",
        [Tensor("INPUT0", "INT32", [1])],
        [Tensor("OUTPUT0", "INT32", [1])],
        settings="version_policy { all { } }",
        versions=(1, 2),
    ),
    "image_sum": Model(
        "image_sum.py", [Tensor("IMAGE", "FP32", [3, 224, 224])], [Tensor("OUTPUT0", "FP32", [1])], max_batch_size=8
    ),
    "classify": Model(
        "identity.py",
        [Tensor("INPUT0", "FP32", [len(LABELS)])],
        [Tensor("OUTPUT0", "FP32", [len(LABELS)], 'label_filename: "labels.txt"')],
        max_batch_size=8,
        files={"labels.txt": "\n".join(LABELS) + "\n"},
    ),
    "optional_input": Model(
        "optional_input.py",
        [Tensor("INPUT0", "FP32", [-1]), Tensor("INPUT1", "FP32", [-1], "optional: true")],
        [Tensor("OUTPUT0", "FP32", [-1])],
    ),
}

# All that load; `badload` stands for those that do not.
LOADABLE = tuple(name for name in MODELS if name != "badload")


def write_repository(directory: Path, names: Iterable[str] = LOADABLE) -> Path:
    """Write these models into `directory`, and return it. KeyError for a name that is not in `MODELS`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_model(directory, name, MODELS[name])
    return directory


def write_model(directory: Path, name: str, model: Model) -> None:
    """Write one model as `directory`/`name`."""
    for version in model.versions:
        place = directory / name / str(version)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(CODE / model.code, place / "model.py")
    (directory / name / "config.pbtxt").write_text(model.config(name))
    for file, text in model.files.items():
        (directory / name / file).write_text(text)
