from docs.sphinx.navigation import INDEX_PAGES, linked_pages, with_navigation
from tests.unit.docs.markdown_pages import DOCS, PAGES

INDEX = """# clipmill

## Tutorial

- [start](start.md), [a file](../README.md), [elsewhere](https://example.com/a.md)

## Reference

| settings | [settings](reference/settings.md), again [start](start.md), [part](other.md#part) |
"""


def test_section_of_the_index_becomes_a_table_of_contents_with_its_caption() -> None:
    text = with_navigation("index", INDEX)
    assert text.count("```{toctree}") == 2
    assert ":caption: Tutorial\n\n/start\n```" in text
    assert ":caption: Reference\n\n/reference/settings\n```" in text


def test_page_of_runbooks_lists_these_only() -> None:
    text = "[a](../runbooks/A.md) [b](../monitoring.md) [a](../runbooks/A.md)"
    assert linked_pages("reference/alerts", text) == ["runbooks/A"]


def test_every_page_is_in_the_navigation() -> None:
    found = {
        page
        for index in INDEX_PAGES
        for page in linked_pages(index, (DOCS / f"{index}.md").read_text())
    }
    names = {each.relative_to(DOCS).with_suffix("").as_posix() for each in PAGES}
    assert found == names - {"index"}
