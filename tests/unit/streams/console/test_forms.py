from streams.console.forms import OPTION_FIELDS, option_values


def test_field_of_several_choices_offers_every_combination() -> None:
    (field,) = [each for each in OPTION_FIELDS if each.name == "sidecars"]
    assert field.choices[:3] == ("info", "thumbnail", "nfo")
    assert field.choices[-1] == "info, thumbnail, nfo"
    assert len(set(field.choices)) == 7


def test_combination_becomes_a_list() -> None:
    assert option_values({"sidecars": "info, nfo"}) == {"sidecars": ["info", "nfo"]}


def test_several_texts_become_a_list() -> None:
    (field,) = [each for each in OPTION_FIELDS if each.name == "subtitles"]
    assert (field.choices, field.is_number) == ((), False)
    assert option_values({"subtitles": "en, pt-BR  de"}) == {"subtitles": ["en", "pt-BR", "de"]}


def test_only_numbers_are_numeric() -> None:
    numbers = {each.name for each in OPTION_FIELDS if each.is_number}
    assert numbers == {"max_bytes", "limit"}
