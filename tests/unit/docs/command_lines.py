"""Command lines in documents, and whether the commands and options in them exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import click

from streams.cli import cli

PROJECT = Path(__file__).resolve().parents[3]

PLACEHOLDER = re.compile(r"[A-Z][A-Z:]+|.*…\]?|\[.*")
"""A value that the reader replaces: ``ID``, ``STAGE…``, ``[URL…]``."""

TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))


def lines_of(script: str) -> list[list[str]]:
    """Split a shell script into commands, without variables in front, pipes and comments."""
    found: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        found.append([])
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        for word in lexer:
            if set(word) <= set("|&;"):
                found.append([])
            elif found[-1] or not re.match(r"\w+=", word):
                found[-1].append(word)
    return [each for each in found if each]


def check(words: list[str]) -> None:
    """Check a command of this project; those of other programs are not checked.

    Raises:
        click.UsageError: no such command or option, or a bad value.
        LookupError: no such target of make, or no such module.
    """
    program, *arguments = words
    match program.removeprefix(".venv/bin/"):
        case "clipmill":
            _check_command(arguments)
        case "make":
            unknown = {each for each in arguments if re.fullmatch(r"[a-z-]+", each)} - TARGETS
            if unknown:
                raise LookupError(f"make {unknown}")
        case "python" if arguments[:1] == ["-m"] and not importlib.util.find_spec(arguments[1]):
            raise LookupError(f"python -m {arguments[1]}")


def _check_command(words: list[str]) -> None:
    found: click.Command = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        if PLACEHOLDER.fullmatch(words[0]):
            return
        name, *words = words
        named = found.get_command(click.Context(found, **cli.context_settings), name)
        if named is None:
            raise click.UsageError(f"no command {name}")
        found = named
    if not words:
        return  # a mention of the command, without its arguments
    try:
        found.make_context("clipmill", list(words))
    except click.exceptions.Exit:
        pass  # --help or --version
    except click.BadParameter as error:
        is_file = error.param is not None and isinstance(error.param.type, click.Path)
        if not is_file and not any(map(PLACEHOLDER.fullmatch, words)):
            raise


def in_backticks(code: str) -> list[str] | None:
    """Return the words of inline code that is a command of clipmill, else None."""
    return shlex.split(code) if re.match(r"(\.venv/bin/)?clipmill( |$)", code) else None
