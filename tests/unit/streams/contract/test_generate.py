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
def document_root(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def test_documents_of_the_project_are_current() -> None:
    assert differences(ROOT) == "", "run `python -m streams.contract.generate`"


def test_documents_are_deterministic() -> None:
    assert documents() == documents()


def test_every_document_but_the_acls_is_json(document_root: Path) -> None:
    for path in documents().keys() - {ACLS}:
        assert json.loads((document_root / path).read_text())
    assert differences(document_root) == ""


def test_acls_of_every_role_are_generated(document_root: Path) -> None:
    text = (document_root / ACLS).read_text()
    for role in get_args(Role):
        assert f"--add --allow-principal User:{role} --operation " in text
    assert "--topic clipmill.ledger-outcomes-changelog" in text


def test_changed_document_is_shown_as_a_diff(document_root: Path) -> None:
    text = (document_root / REQUEST).read_text()
    (document_root / REQUEST).write_text(text.replace('"request"', '"demand"'))
    difference = differences(document_root)
    assert '-  "title": "demand",' in difference
    assert '+  "title": "request",' in difference
    assert str(ASYNCAPI) not in difference


def test_missing_document_is_shown_in_full(document_root: Path) -> None:
    (document_root / ASYNCAPI).unlink()
    assert '+  "asyncapi": "3.0.0",' in differences(document_root)


def test_obsolete_schema_is_shown_and_deleted(document_root: Path) -> None:
    obsolete = document_root / SCHEMAS / "old.v1.json"
    obsolete.write_text("{}\n")
    assert "-{}" in differences(document_root)
    write(document_root)
    assert not obsolete.exists()


def test_check_fails_with_the_diff_and_changes_nothing(document_root: Path) -> None:
    (document_root / REQUEST).write_text("{}\n")
    done = CliRunner().invoke(main, ["--check", "--root", str(document_root)])
    assert done.exit_code == 1
    assert "-{}" in done.output
    assert "python -m streams.contract.generate" in done.output
    assert (document_root / REQUEST).read_text() == "{}\n"


def test_check_is_silent_when_all_is_current(document_root: Path) -> None:
    done = CliRunner().invoke(main, ["--check", "--root", str(document_root)])
    assert (done.exit_code, done.output) == (0, "")


def test_command_writes_the_documents(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["--root", str(tmp_path)]).exit_code == 0
    assert differences(tmp_path) == ""
