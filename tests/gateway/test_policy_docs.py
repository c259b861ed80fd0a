"""The published page is what the policies say of themselves, and its example is a configuration."""

from __future__ import annotations

from pathlib import Path

from config.load import parse
from gateway.policy_docs import HEAD, page
from policies import registry

PUBLISHED = Path(__file__).parents[2] / "docs" / "policies.md"


def test_the_published_page_is_up_to_date() -> None:
    assert PUBLISHED.read_text() == page(), "run `python -m gateway.policy_docs > docs/policies.md`"


def test_each_policy_has_its_section_with_all_options() -> None:
    sections = {section.split("\n", 1)[0]: section for section in page().split("\n## ")[1:]}
    assert list(sections) == list(registry())
    for kind, options in registry().items():
        for name in options.__struct_fields__:
            assert f"| `{name.rstrip('_')}` |" in sections[kind]


def test_the_example_is_a_configuration() -> None:
    example = HEAD.split("```yaml\n")[1].split("```")[0]
    pools = "pools: {vision: {endpoints: ['a:1']}, spare: {endpoints: ['b:1']}}\nlisten: [{address: '127.0.0.1:1'}]\n"
    config = parse(pools + example, "example", policies=registry())
    assert [policy.kind for policy in config.routes[0].policies] == ["timeout", "fallback", "retry", "hedge"]
