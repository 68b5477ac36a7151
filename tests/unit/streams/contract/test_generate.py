import json
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from streams.contract.generate import (
    ACLS,
    ASYNCAPI,
    ROOT,
    SCHEMAS,
    differences,
    documents,
    main,
    write,
)
from streams.contract.role_acls import Role

REQUEST = SCHEMAS / "request.v1.json"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def test_the_documents_of_the_project_are_current() -> None:
    assert differences(ROOT) == "", "run `python -m streams.contract.generate`"


def test_documents_are_the_same_every_time() -> None:
    assert documents() == documents()


def test_every_document_but_the_acls_is_json(written: Path) -> None:
    for path in documents().keys() - {ACLS}:
        assert json.loads((written / path).read_text())
    assert differences(written) == ""


def test_the_acls_of_every_role_are_written(written: Path) -> None:
    text = (written / ACLS).read_text()
    for role in get_args(Role):
        assert f"--add --allow-principal User:{role} --operation " in text
    assert "--topic clipmill.ledger-outcomes-changelog" in text


def test_a_changed_document_is_shown_as_a_diff(written: Path) -> None:
    text = (written / REQUEST).read_text()
    (written / REQUEST).write_text(text.replace('"request"', '"demand"'))
    difference = differences(written)
    assert '-  "title": "demand",' in difference
    assert '+  "title": "request",' in difference
    assert str(ASYNCAPI) not in difference


def test_a_missing_document_is_shown_whole(written: Path) -> None:
    (written / ASYNCAPI).unlink()
    assert '+  "asyncapi": "3.0.0",' in differences(written)


def test_the_schema_of_a_message_that_is_no_more_is_shown_and_deleted(written: Path) -> None:
    old = written / SCHEMAS / "old.v1.json"
    old.write_text("{}\n")
    assert "-{}" in differences(written)
    write(written)
    assert not old.exists()


def test_check_fails_with_the_diff_and_changes_nothing(written: Path) -> None:
    (written / REQUEST).write_text("{}\n")
    done = CliRunner().invoke(main, ["--check", "--root", str(written)])
    assert done.exit_code == 1
    assert "-{}" in done.output
    assert "python -m streams.contract.generate" in done.output
    assert (written / REQUEST).read_text() == "{}\n"


def test_check_is_silent_when_all_is_current(written: Path) -> None:
    done = CliRunner().invoke(main, ["--check", "--root", str(written)])
    assert (done.exit_code, done.output) == (0, "")


def test_the_command_writes(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["--root", str(tmp_path)]).exit_code == 0
    assert differences(tmp_path) == ""
