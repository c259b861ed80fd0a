"""Pages to numbers: samples of real servers, and prometheus-client's parser as the oracle."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.control import metrics_page as module
from gateway.control.metrics_page import Counts, Gpu, Key, PageError, Reader
from tests.support.metrics_pages import COUNTERS, GPU, OLD_TENSORRT_LLM, PENDING, TENSORRT_LLM, VLLM, page

FIELDS = {"success": "success", "executions": "executions", "hits": "hits"}


def oracle(text: bytes) -> dict[Key, dict[str, float]]:
    """The same by prometheus-client: family to sum over the series of a model and version."""
    found: dict[Key, dict[str, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if "model" in sample.labels:
                values = found.setdefault((sample.labels["model"], sample.labels["version"]), {})
                name = sample.name.removesuffix("_total")  # which it adds to counters
                values[name] = values.get(name, 0.0) + sample.value
    return found


def same(counts: Counts, values: dict[str, float]) -> bool:
    compute = sum(values.get(COUNTERS[f"{part}_us"], 0.0) for part in ("input", "infer", "output"))
    return (
        counts.pending == values.get(PENDING, 0.0)
        and all(getattr(counts, field) == values.get(COUNTERS[field], 0.0) for field in FIELDS)
        and counts.compute == pytest.approx(compute * 1e-6)
    )


def test_a_gauge_whose_name_ends_in_count_is_read() -> None:
    one = Reader().read(page({("m", "1"): {"pending": 3, "success": 7, "executions": 5, "infer_us": 1_500_000}}))
    assert one.models == {("m", "1"): Counts(pending=3, success=7, executions=5, compute=1.5)}
    assert one.changed == {("m", "1")}


def test_a_family_of_another_kind_is_not_taken_for_ours() -> None:
    text = page({("m", "1"): {"pending": 3}}).replace(b"_request_count gauge", b"_request_count histogram")
    assert Reader().read(text).models["m", "1"].pending == 0


def test_the_series_of_several_gpus_are_one_model() -> None:
    read = Reader().read(GPU)
    assert read.models == {("m", "1"): Counts(pending=2, success=7)}
    assert read.gpus == (Gpu("GPU-a", 0.75, 4294967296.0, 16101933056.0), Gpu("GPU-b", 0.5))


def test_engines_tell_what_waits_inside() -> None:
    assert Reader().read(VLLM).models["vllm_model", "1"] == Counts(success=10, waiting=4, running=6)
    assert Reader().read(TENSORRT_LLM).models["tensorrt_llm", "1"] == Counts(waiting=3, running=4)
    assert Reader().read(OLD_TENSORRT_LLM).models["tensorrt_llm", "1"] == Counts(waiting=3, running=4)


def test_labels_have_escapes_and_odd_order() -> None:
    text = (
        b"# TYPE nv_inference_pending_request_count gauge\n"
        b'nv_inference_pending_request_count { version = "1" , model = "a \\"b\\" \\\\ c\\nd}", } 2 1395066363000\n'
        b"nv_inference_pending_request_count 17\n"
        b'nv_inference_pending_request_count{model="open} 17\n'
        b'nv_inference_pending_request_count{model="m",version="1"} much\n'
        b'nv_inference_pending_request_count{model="m",version="2"} NaN\n'
        b"garbage \xff\xfe\n"
    ).replace(b"count {", b"count{")
    read = Reader().read(text)
    assert read.models == {('a "b" \\ c\nd}', "1"): Counts(pending=2), ("m", "2"): Counts()}


def test_what_changed_is_told() -> None:
    reader = Reader()
    models: dict[Key, dict[str, float]] = {("a", "1"): {"success": 1}, ("b", "1"): {"success": 1}}
    assert reader.read(page(models)).changed == {("a", "1"), ("b", "1")}
    assert reader.read(page(models)).changed == set()
    models["b", "1"] = {"success": 2, "pending": 4}
    read = reader.read(page(models))
    assert (read.changed, read.models["b", "1"]) == ({("b", "1")}, Counts(pending=4, success=2))
    del models["a", "1"]
    models["c", "7"] = {"pending": 1}
    read = reader.read(page(models))
    assert read.changed >= {("a", "1"), ("c", "7")}
    assert read.models.keys() == {("b", "1"), ("c", "7")}


def test_a_family_that_goes_takes_its_numbers_along() -> None:
    reader = Reader()
    assert reader.read(VLLM).models["vllm_model", "1"].running == 6
    read = reader.read(page({("vllm_model", "1"): {"success": 11}}))
    assert read.models["vllm_model", "1"] == Counts(success=11)
    assert read.changed == {("vllm_model", "1")}


@pytest.mark.parametrize("text", [b"", b"<html>It works!</html>", b"a 1\nb 2\n", b"\x00\xff" * 100])
def test_what_is_no_page_is_refused_and_the_next_one_read(text: bytes) -> None:
    reader = Reader()
    good = page({("m", "1"): {"pending": 3}})
    assert reader.read(good).changed
    with pytest.raises(PageError, match="no metrics"):
        reader.read(text)
    assert reader.read(good).changed == set()


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODEL_LIMIT", 3)
    models: dict[Key, dict[str, float]] = {(f"m{index}", "1"): {} for index in range(9)}
    assert len(Reader().read(page(models)).models) == 3
    monkeypatch.setattr(module, "SERIES_LIMIT", 5)
    assert Reader().read(page(models)).models == {}
    monkeypatch.setattr(module, "PAGE_LIMIT", 100)
    with pytest.raises(PageError, match="at most 100"):
        Reader().read(page(models))


names = st.text(min_size=1, max_size=8).filter(
    lambda text: not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in text)
)
keys = st.tuples(names, st.sampled_from(("1", "2", "10")))
values = st.dictionaries(st.sampled_from((*COUNTERS, "pending")), st.integers(0, 2**40), max_size=7)
pages = st.dictionaries(keys, values, max_size=5)


def escaped(models: dict[Key, dict[str, float]]) -> bytes:
    return page({(name.replace("\\", "\\\\").replace('"', '\\"'), v): each for (name, v), each in models.items()})


@settings(max_examples=60, deadline=None)
@given(st.lists(pages, min_size=1, max_size=4))
def test_each_page_of_a_row_reads_as_prometheus_client_does(row: list[dict[Key, dict[str, float]]]) -> None:
    reader, before = Reader(), dict[Key, Counts]()
    for models in row:
        text = escaped(models)
        read = reader.read(text)
        expected = oracle(text)
        assert read.models.keys() == expected.keys()
        assert all(same(read.models[key], expected[key]) for key in expected)
        now = dict(read.models)
        assert {key for key in now.keys() | before.keys() if now.get(key) != before.get(key)} <= read.changed
        before = now


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200) | st.just(page({("m", "1"): {"success": 2}})), max_size=4))
def test_any_bytes_give_a_page_or_a_page_error(row: list[bytes]) -> None:
    reader = Reader()
    for text in row:
        try:
            reader.read(text)
        except PageError:
            continue


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_within_a_page_is_survived(data: st.DataObject) -> None:
    good = page({("m", "1"): {"success": 2, "pending": 1}, ("n", "1"): {"success": 3}})
    at = data.draw(st.integers(0, len(good)))
    bad = good[:at] + data.draw(st.binary(max_size=4)) + good[at + data.draw(st.integers(0, 8)) :]
    reader = Reader()
    reader.read(good)
    with contextlib.suppress(PageError):
        reader.read(bad)
    assert reader.read(good).models == Reader().read(good).models


def test_a_series_that_does_not_count_may_change_and_others_are_patched() -> None:
    reader = Reader()
    reader.read(TENSORRT_LLM)
    line = b'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} '
    text = TENSORRT_LLM.replace(line + b"1", line + b"9")
    assert text != TENSORRT_LLM
    assert reader.read(text).changed == frozenset()
    active = b'request_type="active",version="1"} '
    models = reader.read(text.replace(active + b"7", active + b"8")).models
    assert (
        models["tensorrt_llm", "1"]
        == Reader().read(text.replace(active + b"7", active + b"8")).models["tensorrt_llm", "1"]
    )


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=5), max_size=8))
def test_page_after_page_is_as_each_page_alone(pages: list[list[tuple[str, int]]]) -> None:
    """In any order, with series that come, go, move and are there twice."""
    reader = Reader()
    for series in pages:
        lines = [
            f'nv_inference_pending_request_count{{model="{model}",version="1"}} {value}' for model, value in series
        ]
        text = "\n".join(["# TYPE nv_inference_pending_request_count gauge", *lines, ""]).encode()
        assert dict(reader.read(text).models) == dict(Reader().read(text).models)
