"""The Prometheus page of a Triton, as far as its load is concerned: text to numbers for each model version.

A `Reader` is kept for each endpoint. From one look to the next most of a page stays the same, so only the lines that
differ are parsed. A family is what its `# TYPE` line says, never what a name ends in: Triton's
`nv_inference_pending_request_count` is a gauge, no part of a histogram. The format:
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format. The families: Triton's
docs/user_guide/metrics.md, those of vLLM in vllm_backend's src/utils/metrics.py, those of TensorRT-LLM in
tensorrtllm_backend's README, "Triton Metrics".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

PAGE_LIMIT = 32 * 1024 * 1024
"""Bytes. Triton 2.51 writes about 1 KB for each model version."""
SERIES_LIMIT = 100_000
"""Lines of one family; a family with more is not read."""
MODEL_LIMIT = 20_000
"""Model versions of one page; others are left out."""

Key = tuple[str, str]
"""Model and version; of a GPU, its UUID and nothing."""


class PageError(Exception):
    """The page is too large, or no page of metrics at all."""


class Counts(NamedTuple):
    """What a page says of one model version: counters since it was loaded, durations in seconds.

    `pending`: requests that wait to be executed. `hits`: requests that the cache answered. `compute` is the time in
    execution, input and output included, of all requests: each one of a batch counts the whole batch's (Triton core,
    infer_stats.cc). `waiting` and `running` come from inside an engine that takes all requests at once; -1 if it does
    not say.
    """

    pending: float = 0.0
    success: float = 0.0
    executions: float = 0.0
    hits: float = 0.0
    compute: float = 0.0
    waiting: float = -1.0
    running: float = -1.0


class Gpu(NamedTuple):
    """A GPU: `utilization` from 0 to 1, memory in bytes; -1 for what the page does not say."""

    uuid: str
    utilization: float = -1.0
    memory_used: float = -1.0
    memory_total: float = -1.0


class Page(NamedTuple):
    """A page. `changed` names the models that are not as in the page before, also those that are no longer there."""

    models: Mapping[Key, Counts]
    gpus: tuple[Gpu, ...]
    changed: frozenset[Key]


_FIELDS = (
    *("pending", "success", "executions", "hits", "compute", "waiting", "running"),
    *("scheduled", "active"),  # TensorRT-LLM's
    *("utilization", "memory_used", "memory_total"),  # of a GPU
)
_INDEX = {field: index for index, field in enumerate(_FIELDS)}


class _Family(NamedTuple):
    """Where a family goes: one of `_FIELDS`, for a model or a GPU. If `by` names a label, its value is the field."""

    kind: bytes
    field: str
    gpu: bool = False
    by: str = ""


_FAMILIES = {
    b"nv_inference_pending_request_count": _Family(b"gauge", "pending"),
    b"nv_inference_request_success": _Family(b"counter", "success"),
    b"nv_inference_exec_count": _Family(b"counter", "executions"),
    b"nv_cache_num_hits_per_model": _Family(b"counter", "hits"),
    b"nv_inference_compute_input_duration_us": _Family(b"counter", "compute"),
    b"nv_inference_compute_infer_duration_us": _Family(b"counter", "compute"),
    b"nv_inference_compute_output_duration_us": _Family(b"counter", "compute"),
    b"vllm:num_requests_waiting": _Family(b"gauge", "waiting"),
    b"vllm:num_requests_running": _Family(b"gauge", "running"),
    b"nv_trt_llm_request_metrics": _Family(b"gauge", "", by="request_type"),
    b"nv_gpu_utilization": _Family(b"gauge", "utilization", gpu=True),
    b"nv_gpu_memory_used_bytes": _Family(b"gauge", "memory_used", gpu=True),
    b"nv_gpu_memory_total_bytes": _Family(b"gauge", "memory_total", gpu=True),
}
_LABEL = re.compile(rb'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|(?=\}))')
_CLOSING = re.compile(rb"\s*\}")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MICROSECOND = 1e-6


class _Row:
    """One model or GPU: by the index of `_FIELDS`, the sum of its series, of which a GPU build has one of a model for
    each GPU, and how many these are."""

    __slots__ = ("gpu", "key", "series", "values")

    def __init__(self, key: Key, gpu: bool) -> None:
        self.key = key
        self.gpu = gpu
        self.values = [0.0] * len(_FIELDS)
        self.series = [0] * len(_FIELDS)

    def get(self, field: str) -> float:
        index = _INDEX[field]
        return self.values[index] if self.series[index] else -1.0


class Reader:
    """Reads the pages of one endpoint, one after the other."""

    def __init__(self) -> None:
        self._sections: dict[bytes, _Section] = {}
        self._rows: dict[tuple[Key, bool], _Row] = {}
        self._models: dict[Key, Counts] = {}
        self._gpus: tuple[Gpu, ...] = ()

    def read(self, text: bytes) -> Page:
        """The numbers of a page; `models` changes with the next one. Lines that are not understood are left out. Raises
        `PageError`, and goes on from the page before the next time."""
        if len(text) > PAGE_LIMIT:
            raise PageError(f"a page of {len(text)} bytes; at most {PAGE_LIMIT} are read")
        parts = (b"\n" + text).split(b"\n# TYPE ")
        if len(parts) == 1:
            raise PageError("no metrics: there is no line with # TYPE")
        changed = self._take(parts[1:])
        models = frozenset(row.key for row in changed if not row.gpu)
        for row in changed:
            self._assemble(row)
        if len(models) != len(changed):
            gpus = sorted((row for row in self._rows.values() if row.gpu), key=lambda row: row.key)
            self._gpus = tuple(
                Gpu(row.key[0], row.get("utilization"), row.get("memory_used"), row.get("memory_total")) for row in gpus
            )
        return Page(self._models, self._gpus, models)

    def _take(self, parts: Iterable[bytes]) -> set[_Row]:
        """Read the sections; which rows changed."""
        changed: set[_Row] = set()
        seen = set()
        for part in parts:
            name = part[: part.find(b" ")]
            if name not in _FAMILIES or name in seen:
                continue
            section = self._sections.get(name)
            if section is None:
                section = self._sections[name] = _Section(name, _FAMILIES[name], self._rows)
            section.take(part, changed)
            seen.add(name)
        for name in self._sections.keys() - seen:
            self._sections.pop(name).take(b"", changed)
        return changed

    def _assemble(self, row: _Row) -> None:
        if not any(row.series):
            self._rows.pop((row.key, row.gpu), None)
            self._models.pop(row.key, None)
        elif not row.gpu and (row.key in self._models or len(self._models) < MODEL_LIMIT):
            self._models[row.key] = _counts(row)


class _Line:
    """A line of a family as it was last. `head` is what comes before the value, nothing if it is no series; one without
    a `row` does not count."""

    __slots__ = ("head", "index", "row", "value")

    def __init__(self, head: bytes = b"", row: _Row | None = None, index: int = 0, value: float = 0.0) -> None:
        self.head = head
        self.row = row
        self.index = index
        self.value = value


class _Section:
    """The lines of one family as they were last. They keep their order while no series comes or goes, so each is
    compared with the one that was in its place."""

    def __init__(self, name: bytes, family: _Family, rows: dict[tuple[Key, bool], _Row]) -> None:
        self._name = name
        self._family = family
        self._rows = rows
        self._text = b""
        self._texts: list[bytes] = []
        self._lines: list[_Line] = []

    def take(self, text: bytes, changed: set[_Row]) -> None:
        """The text after `# TYPE ` now. Adds the rows to `changed` that have other values than before."""
        if text == self._text:
            return
        kind, *texts = text.removeprefix(self._name).split(b"\n")
        if kind.strip() != self._family.kind:
            texts = []
        before, self._text, self._texts = self._texts, text, texts
        if len(texts) != len(before) or not self._patch(before, changed):
            self._rebuild(changed)

    def _patch(self, before: list[bytes], changed: set[_Row]) -> bool:
        """Take over new values of known series. False if the series are not the same as before."""
        for line, old, new in zip(self._lines, before, self._texts, strict=True):
            if new == old:
                continue
            row, head = line.row, line.head
            if not head or not new.startswith(head):
                return False
            if row is None:
                continue
            number = _number(new[len(head) :])
            if number is None:
                return False
            row.values[line.index] += number - line.value
            line.value = number
            changed.add(row)
        return True

    def _rebuild(self, changed: set[_Row]) -> None:
        for line in self._lines:
            row, index = line.row, line.index
            if row is not None:
                row.series[index] -= 1
                row.values[index] = row.values[index] - line.value if row.series[index] else 0.0
                changed.add(row)
        self._lines = []
        if len(self._texts) > SERIES_LIMIT:
            self._texts = []
        seen: set[bytes] = set()
        for text in self._texts:
            self._lines.append(self._line(text, seen, changed))

    def _line(self, text: bytes, seen: set[bytes], changed: set[_Row]) -> _Line:
        head, labels, number = _parse(text, self._name)
        family = self._family
        key = (labels.get("gpu_uuid", ""), "") if family.gpu else (labels.get("model", ""), labels.get("version", ""))
        index = _INDEX.get(labels.get(family.by, "") if family.by else family.field)
        if number is None:
            return _Line()
        if not key[0] or index is None or head in seen:
            return _Line(head + b" ")
        seen.add(head)
        row = self._rows.get((key, family.gpu))
        if row is None:
            row = self._rows[key, family.gpu] = _Row(key, family.gpu)
        row.values[index] += number
        row.series[index] += 1
        changed.add(row)
        return _Line(head + b" ", row, index, number)


def _parse(line: bytes, name: bytes) -> tuple[bytes, dict[str, str], float | None]:
    """A line's part up to the value, its labels, and its value, None if it is no sample of the family `name`."""
    if not line.startswith(name):
        return b"", {}, None
    end, labels = len(name), {}
    if line[end : end + 1] == b"{":
        end += 1
        while match := _LABEL.match(line, end):
            labels[match[1].decode("ascii")] = _unescape(match[2])
            end = match.end()
        closing = _CLOSING.match(line, end)
        if closing is None:
            return b"", {}, None
        end = closing.end()
    words = line[end:].split()  # the value, and perhaps a timestamp
    return line[:end], labels, _number(words[0]) if words and len(words) <= 2 else None


def _unescape(value: bytes) -> str:
    """A label's value: backslash, double quote and line feed are escaped."""
    text = value.decode("utf-8", "replace")
    return text if "\\" not in text else _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], text)


def _number(text: bytes) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else 0.0


def _counts(row: _Row) -> Counts:
    """TensorRT-LLM's active requests are those that wait and those that are scheduled; an older one does not tell which
    wait."""
    pending, success, executions, hits, compute, waiting, running, scheduled, active, *_ = row.values
    if not row.series[_INDEX["running"]]:
        running = scheduled if row.series[_INDEX["scheduled"]] else -1.0
    if not row.series[_INDEX["waiting"]]:
        waiting = max(0.0, active - scheduled) if running >= 0 else -1.0
    return Counts(pending, success, executions, hits, compute * _MICROSECOND, waiting, running)
