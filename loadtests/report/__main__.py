"""Draw a run's report anew from its JSON: `python -m loadtests.report loadtests/results/full.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from loadtests.report import markdown, picture
from loadtests.results import Document, decode, encode


def write(document: Document, directory: Path, stem: str) -> list[Path]:
    """Write STEM.json, STEM.md and STEM.svg."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": encode(document).decode(),
        "md": markdown.render(document),
        "svg": picture.render(document),
    }
    paths = [directory / f"{stem}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def main(arguments: list[str]) -> int:
    """Each argument is a JSON file; its report is written beside it."""
    for name in arguments:
        path = Path(name)
        for written in write(decode(path.read_bytes()), path.parent, path.stem):
            print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
