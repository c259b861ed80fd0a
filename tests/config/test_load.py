"""Whole files and texts, good, bad and hostile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.load import ConfigError, Problem, load, parse
from config.nodes import MAX_BYTES
from config.schema import Admin, Config, Endpoint, Listener, Match, Pool, Route, Target
from tests.support.configuration_page import EXAMPLES as EXAMPLES_OF_THE_PAGE
from tests.support.configurations import PARTS, mistakes, text_with

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"

KEYS = "listen, pools, routes, policies, labels, admin, workers, drain, state, key_file, state_directory"

BAD = """\
listen:
  - address: :8080
    apis: [infernce, metadata]
    limits: {body_bytes: 32k, headers: 1e9}
admin: 0.0.0.0:9901
wrkers: 2
pools:
  vision:
    endpoints: [gpu-0:8001, {address: gpu-1}]
    pick: least_inflght
  local: {endpoints: []}
routes:
  - match: {model: "*"}
    to: {pool: visoin}
  - match: {model: [resnet, "[a"]}
    to: {pool: local, version: 0}
    timeout: 2 days
  - match: {model: later}
    rules:
      - {when: {header: cookie, equals: a}, to: {pool: vision, version: stabel}}
      - {when: {header: x-a, regex: "(?=a)", prefix: b}, to: local}
    split:
      variants: {new: {pool: local, weight: 120%}}
      sticky: {header: x-user, cookie: u}
    policies: [slow, {kind: retry}]
labels: {later: {stable: 2}}
"""

BAD_LINES = """\
gateway.yaml:2:14: listen[0].address: expected host:port, e.g. 0.0.0.0:8080, got ':8080'
gateway.yaml:3:12: listen[0].apis[0]: expected one of: inference, logging, metadata, repository, shared_memory, \
statistics, trace; got 'infernce'; did you mean 'inference'?
gateway.yaml:4:26: listen[0].limits.body_bytes: expected a size such as 64MiB, 500kB or 1048576, got '32k', which is \
ambiguous: write 32KiB or 32kB
gateway.yaml:4:40: listen[0].limits.headers: expected a whole number between 1 and 10000, got the text '1e9'
gateway.yaml:5:8: admin: the admin port has no authentication yet; expected a loopback address or unix:/path, got \
'0.0.0.0:9901'
gateway.yaml:6:1: unknown key 'wrkers'; did you mean 'workers'?
gateway.yaml:9:39: pools.vision.endpoints[1].address: expected host:port, e.g. gpu-0:8001, got 'gpu-1'
gateway.yaml:10:11: pools.vision.pick: expected one of: expected_wait, hash_ring, least_inflight, round_robin; got \
'least_inflght'; did you mean 'least_inflight'?
gateway.yaml:11:22: pools.local.endpoints: expected at least one, got an empty list
gateway.yaml:14:16: routes[0].to.pool: expected the name of a pool (one of: vision, local), got 'visoin'; did you mean \
'vision'?
gateway.yaml:15:21: routes[1].match.model[0]: expected a model that no earlier route takes, got 'resnet', which \
routes[0] takes by '*'
gateway.yaml:15:29: routes[1].match.model[1]: expected a ']' that closes the '[' at character 1; a literal '[' is \
written [[]
gateway.yaml:16:32: routes[1].to.version: expected a model version: a whole number ≥ 1, got '0'
gateway.yaml:17:14: routes[1].timeout: expected a duration such as 250ms, 10s or 1m30s, got '2 days'
gateway.yaml:18:20: routes[2].match.model: expected a model that no earlier route takes, got 'later', which routes[0] \
takes by '*'
gateway.yaml:20:25: routes[2].rules[0].when.header: expected a header without secrets, got 'cookie'; clients are told \
apart by `principal`
gateway.yaml:20:73: routes[2].rules[0].to.version: expected a version, latest or a label of 'later' (one of: stable), \
got 'stabel'; did you mean 'stable'?
gateway.yaml:21:37: routes[2].rules[1].when.regex: expected a regular expression of RE2, got '(?=a)': invalid perl \
operator: (?=; lookarounds and backreferences are not part of RE2
gateway.yaml:21:37: routes[2].rules[1].when.regex: expected one of equals, prefix, regex, in and present beside \
`header`, got prefix and regex
gateway.yaml:23:45: routes[2].split.variants.new.weight: expected a whole number between 0 and 1000000, got the text \
'120%'
gateway.yaml:24:40: routes[2].split.sticky: expected one of header, cookie, principal and address, got header and cookie
gateway.yaml:25:16: routes[2].policies[0]: expected the name of a shared policy, got 'slow'; one of its own is written \
{kind: …}
gateway.yaml:25:29: routes[2].policies[1].kind: expected no policy, since none are known here; got 'retry'
"""


def test_a_small_configuration_as_a_whole() -> None:
    assert parse(text_with(), "f") == Config(
        listen=(Listener("0.0.0.0:8080", name="0.0.0.0:8080"),),
        pools={"main": Pool((Endpoint("gpu-0:8001"),))},
        routes=(Route(Match(("*",)), Target("main"), name="*"),),
    )


def test_shorthands_mean_the_same_as_what_they_are_short_for() -> None:
    short = text_with(
        pools="{main: {endpoints: [a:1, b:2]}}",
        routes="[{match: {model: resnet50}, to: main}]",
        admin="127.0.0.1:99",
    )
    written_out = text_with(
        pools="{main: {endpoints: [{address: a:1}, {address: b:2}]}}",
        routes="[{match: {model: [resnet50]}, to: {pool: main}}]",
        admin="{address: 127.0.0.1:99}",
    )
    assert parse(short, "f") == parse(written_out, "f")
    assert parse(short, "f").admin == Admin("127.0.0.1:99")


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(BAD, "gateway.yaml")
    assert str(caught.value) == BAD_LINES.rstrip()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1: expected a mapping with listen, pools and routes, got an empty file"),
        ("# nothing\n", "1:1: expected a mapping with listen, pools and routes, got an empty file"),
        ("null", f"1:1: expected a mapping with {KEYS}, got nothing"),
        ("\n- a", f"2:1: expected a mapping with {KEYS}, got a list"),
        ("listen: [\n", "2:1: not YAML: "),
    ],
)
def test_text_that_is_no_configuration(text: str, line: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(line)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_parts_that_cannot_be_left_out(part: str) -> None:
    text = "".join(line for line in text_with().splitlines(True) if not line.startswith(part))
    assert mistakes(text) == [f"1:1: expected the key '{part}', which is missing"]


def test_a_version_is_text_whatever_yaml_takes_it_for() -> None:
    for written in ("2", "'2'"):
        config = parse(text_with(routes=f"[{{match: {{model: a}}, to: {{pool: main, version: {written}}}}}]"), "f")
        assert config.routes[0].to == Target("main", version="2")


def test_anchors_and_merges() -> None:
    text = text_with(
        listen="[{address: a:1, limits: &l {body_bytes: 1MiB}}, {address: a:2, limits: {<<: *l, streams: 7}}]"
    )
    limits = parse(text, "f").listen[1].limits
    assert (limits.body_bytes, limits.streams) == (1024**2, 7)


def test_without_a_base_no_file_is_touched() -> None:
    text = text_with(listen="[{address: a:1, tls: {certificate: no.pem, key: no.pem}}]")
    tls = parse(text, "f").listen[0].tls
    assert tls is not None
    assert tls.certificate == "no.pem"


def test_with_a_base_missing_files_are_mistakes_beside_the_others(tmp_path: Path) -> None:
    text = text_with(listen="[{address: a:1, tls: {certificate: no.pem, key: 5}}]", workers="-1")
    with pytest.raises(ConfigError) as caught:
        parse(text, "f", tmp_path)
    assert [problem.path for problem in caught.value.problems] == [
        "listen[0].tls.certificate",
        "listen[0].tls.key",
        "workers",
    ]


def test_load_reads_a_file_and_starts_paths_at_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text(text_with(state_directory="state"))
    monkeypatch.chdir(tmp_path)
    assert load("gateway.yaml") == load(tmp_path / "gateway.yaml")
    assert load("gateway.yaml").state_directory == str(tmp_path / "state")


def test_problems_name_the_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text("a: 1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^gateway\.yaml:1:1: unknown key 'a'"):
        load("gateway.yaml")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a: 1\nb: \xc3\xa9\xff", "2:5: expected UTF-8 text, got the byte 0xff"),
        ("a: 1".encode("utf-16"), "1:1: expected UTF-8 text, got the byte 0xff"),
        (b"#" * (MAX_BYTES + 1), f"1:1: expected at most {MAX_BYTES} bytes, got more"),
        (b"a: \x00", "1:4: expected printable text, got the character '\\x00'"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, line: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:{line}"


def test_a_large_file_cut_within_a_character_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes("é".encode() * MAX_BYTES)
    with pytest.raises(ConfigError, match="expected at most 1048576 bytes"):
        load(tmp_path / "f")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml:1:1: cannot be read: No such file or directory"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match=":1:1: cannot be read: Is a directory"):
        load(tmp_path)


WORDS = ["listen", "pools", "routes", "match", "model", "to", "pool", "address", "endpoints", "0.0.0.0:80", "a:1", "5"]
WORDS += ["to", "rules", "when", "header", "equals", "in", "split", "variants", "weight", "sticky", "policies", "kind"]
WORDS += ["stable", "labels", "managed", "repository", "discover", "dns", "pick", "by", "hash_ring", "models", "true"]
WORDS += ["*", "tls", "limits", "connections", "null", "'", "admin", "&a", "*a", "<<", "1s", "resnet*", "[a", "version"]
VALUES = st.recursive(
    st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=12,
)
TOP = st.sampled_from(["listen", "pools", "routes", "policies", "labels", "admin", "workers", "drain"])
TEXTS = st.dictionaries(TOP, VALUES).map(lambda parts: text_with(**parts))


@given(st.text(max_size=60) | TEXTS)
@settings(max_examples=200, deadline=None)
@example(text_with())
@example(text_with(admin="{address: unix:/a}", workers="0"))
@example("\ud800")
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    outcome = outcome_of(text)
    assert outcome_of(text) == outcome
    if isinstance(outcome, Config):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Config) == outcome
    else:
        assert outcome
        assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in outcome)
        assert not any("\n" in str(problem) for problem in outcome)


WHOLE = [
    yaml.safe_load(text) for text in (*EXAMPLES_OF_THE_PAGE, *(file.read_text() for file in EXAMPLES.glob("*.yaml")))
]
JUNK: list[Any] = [
    None,
    True,
    -1,
    5,
    1.5,
    "",
    "x",
    "*",
    "[",
    "(?=a)",
    [],
    {},
    [5],
    {"a": 5},
    [{}],
    [[None]],
    {"kind": "retry"},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def exchanged(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy of `value` with `other` at `path`."""
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = exchanged(value[path[0]], path[1:], other)
    return copy


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_good_text_with_one_bad_part_is_a_configuration_or_a_config_error(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(WHOLE))
    path = data.draw(st.sampled_from(list(places(whole))))
    outcome = outcome_of(yaml.safe_dump(exchanged(whole, path, data.draw(st.sampled_from(JUNK)))))
    if isinstance(outcome, Config):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Config) == outcome


def outcome_of(text: str) -> Config | tuple[Problem, ...]:
    try:
        return parse(text, "f", "/nonexistent")
    except ConfigError as error:
        return error.problems


@pytest.mark.parametrize(
    "routes",
    [
        "".join(f"  - {{match: {{model: '*{i}*'}}, to: main}}\n" for i in range(10_000, 20_000)),
        "".join(f"  - {{match: {{model: m{i}}}, to: man}}\n" for i in range(10_000, 20_000)),
        "  - {match: {model: [" + "'*a?b*', " * 50_000 + "]}, to: main}",
        "  - match: {model: '*'}\n    to: main\n    rules:\n"
        + "".join(f"      - {{when: {{model: '*{i}'}}, to: {{pool: main, version: x}}}}\n" for i in range(3_000))
        + f"labels: {{{', '.join(f'm{i}: {{x: 1}}' for i in range(3_000, 6_000))}}}",
    ],
)
def test_huge_files_end_soon(routes: str) -> None:
    began = time.process_time()
    mistakes(text_with(routes=f"\n{routes}"))
    assert time.process_time() - began < 20  # minutes, were all globs compared or all near words sought


def test_two_hundred_routes(capsys: pytest.CaptureFixture[str]) -> None:
    pools = "".join(f"  p{i}: {{endpoints: [gpu-{i}:8001]}}\n" for i in range(20))
    routes = "".join(f"  - {{match: {{model: [m{i}, 'm{i}-*']}}, to: p{i % 20}}}\n" for i in range(200))
    text = f"listen: [{{address: 0.0.0.0:80}}]\npools:\n{pools}routes:\n{routes}"
    began = time.perf_counter()
    config = parse(text, "f")
    took = time.perf_counter() - began
    with capsys.disabled():
        print(f"\n200 routes: {took * 1000:.0f} ms on {os.cpu_count()} cores")
    assert len(config.routes) == 200
