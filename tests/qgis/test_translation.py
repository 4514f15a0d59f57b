"""The plugin's texts and their translations; needs neither QGIS nor Qt."""

from __future__ import annotations

import re

import pytest
from project_scripts import SCRIPTS, import_script


@pytest.fixture(scope="module")
def script():
    return import_script("translate_plugin")


def test_texts_are_found_wherever_they_stand(script):
    source = """
LATER = "a constant"
class A:
    TITLE = marked("a title")
    def f(self):
        tr("a text" " in two parts").format(1)
        self.tr(LATER)
        raise EngineError("a {thing}", thing=1)
        other("not this")
"""
    assert sorted(script.texts_in(source)) == ["a constant", "a text in two parts", "a title", "a {thing}"]


def test_an_f_string_is_refused(script):
    with pytest.raises(ValueError, match="line 1: an f-string cannot be translated"):
        list(script.texts_in("tr(f'{x} buildings')"))


@pytest.fixture(params=["de"])
def language(request):
    return request.param


def test_no_text_is_untranslated_and_no_translation_is_left_over(script, language):
    assert list(script.read_translations(language)) == script.find_texts()


def test_translations_have_the_same_fields(script, language):
    for text, translation in script.read_translations(language).items():
        assert sorted(re.findall(r"\{.*?\}", text)) == sorted(re.findall(r"\{.*?\}", translation)), text


def test_translations_have_the_same_paragraphs(script, language):
    for text, translation in script.read_translations(language).items():
        assert text.count("\n") == translation.count("\n"), text


def test_what_the_script_writes_is_what_it_reads(script, language, tmp_path, monkeypatch):
    texts, translations = script.find_texts(), script.read_translations(language)
    before = script.ts_path(language).read_bytes()
    monkeypatch.setattr(script, "ts_path", lambda _language: tmp_path / "i18n" / "new.ts")
    script.write_translations(language, texts, translations)
    assert (tmp_path / "i18n" / "new.ts").read_bytes() == before
    del translations[texts[0]]
    script.write_translations(language, texts, translations)
    assert script.read_translations(language) == translations
    assert (tmp_path / "i18n" / "new.ts").read_text(encoding="utf-8").count("unfinished") == 1


def test_the_metadata_is_in_both_languages():
    metadata = (SCRIPTS.parent / "qgis_plugin" / "metadata.txt").read_text(encoding="utf-8")
    for key in ("description", "about"):
        assert re.search(rf"^{key}=", metadata, re.M)
        assert re.search(rf"^{key}\[de\]=", metadata, re.M)
