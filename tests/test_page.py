"""The page: everything inside it, nothing of it unescaped, well-formed."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np

from geofootprint.page import Figure, Section, build_page

VOID = {"meta", "img"}


class Nesting(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page() -> str:
    picture = np.random.default_rng(0).integers(0, 255, (3, 8, 12)).astype(np.uint8)
    section = Section(
        "Places & <things>",
        "Some text.",
        legend=[((1, 2, 3), "a key")],
        header=("", "one", "two"),
        rows=[("first", "1", "2"), ("second", "$x", "<4>")],
        figures=[Figure(picture, 'a "drawing"'), Figure(picture, "a photo", photo=True)],
    )
    return build_page("A <title>", "What it is.", [section, Section("Empty")], numbers=[("0.9", "IoU")])


def test_tags_close_in_turn() -> None:
    parser = Nesting()
    parser.feed(page())
    parser.close()
    assert not parser.open


def test_text_is_escaped() -> None:
    text = page()
    assert "A &lt;title&gt;" in text
    assert "Places &amp; &lt;things&gt;" in text
    assert "&lt;4&gt;" in text
    assert "$x" in text
    assert 'alt="a &quot;drawing&quot;"' in text


def test_needs_no_other_file() -> None:
    text = page()
    assert "http" not in text
    assert "<script" not in text
    assert "<link" not in text
    sources = re.findall(r'src="([^"]*)"', text)
    assert [source.partition(";")[0] for source in sources] == ["data:image/png", "data:image/jpeg"]
    assert base64.b64decode(sources[0].partition(",")[2])[:4] == b"\x89PNG"


def test_light_and_dark() -> None:
    assert "color-scheme: light dark" in page()
    assert "prefers-color-scheme: dark" in page()


def test_pictures_say_their_size() -> None:
    assert page().count('width="12" height="8"') == 2
