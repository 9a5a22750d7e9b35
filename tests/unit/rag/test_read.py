from __future__ import annotations

import pytest

from partage.errors import DocumentUnreadable, TooLarge, UnsupportedDocument
from partage.rag.read import media_type_of, read_pages


class TwoPages:
    async def pages(self, name: str, content: bytes, media_type: str) -> list[str]:
        return [f"{name} {media_type}", ""]


async def read(name: str, content: bytes | str, max_characters: int = 1000) -> list[str]:
    pages, _ = await read_pages(name, content, TwoPages(), max_characters=max_characters)
    return pages


async def test_text_comes_in_the_encodings_people_have():
    for content in ("Größe".encode(), "\ufeffGröße".encode(), "Größe".encode("cp1252"), "Größe".encode("utf-16")):
        assert await read("a.txt", content) == ["Größe"]


async def test_form_feed_ends_a_page_and_every_line_end_is_one_newline():
    assert await read("a.md", b"one\r\ntwo\rthree\x0cfour") == ["one\ntwo\nthree", "four"]


async def test_what_is_more_than_text_goes_to_the_reader_of_pages():
    assert await read("a.pdf", b"%PDF-1.7") == ["a.pdf application/pdf", ""]


async def test_string_is_text_whatever_its_name_says():
    assert await read("scan.pdf", "page one\x0cpage two\ud800") == ["page one", "page two?"]


async def test_document_without_any_text_is_refused():
    for content in (b"", b" \n\x0c "):
        with pytest.raises(DocumentUnreadable, match=r"a\.txt is empty"):
            await read("a.txt", content)


async def test_text_over_the_limit_is_refused():
    with pytest.raises(TooLarge, match="1,000"):
        await read("a.txt", b"x" * 1001)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pdf", b"text"), ("a.pdf", b""), ("a.txt", b"%PDF-1.4"), ("a.png", b"\xff\xd8\xff"), ("a", b"\x7fELF\0")],
)
def test_file_that_is_not_what_its_name_says_is_refused(name: str, content: bytes):
    with pytest.raises(UnsupportedDocument):
        media_type_of(name, content)


def test_text_needs_no_known_suffix():
    assert media_type_of("README", b"words") == "text/plain"
    assert media_type_of("notes.MD", b"words") == "text/markdown"
