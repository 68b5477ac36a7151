"""Interprets seccomp filters, so that those of other architectures are tested, too."""

from collections.abc import Sequence

from agents.confinement.seccomp import ARCHITECTURES, Instruction

ALLOW, REFUSE, MISSING, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def action(
    program: Sequence[Instruction],
    architecture: str,
    number: int | None,
    first_argument: int = 0,
    *,
    audit: int | None = None,
) -> int:
    """Return the action of a filter for a call; ``audit`` replaces the architecture's constant."""
    assert number is not None
    constants = {0: number, 4: audit or ARCHITECTURES[architecture], 16: first_argument}
    held, place = 0, 0
    while True:
        code, when_true, when_false, operand = program[place]
        place += 1
        match code:
            case 0x20:
                held = constants[operand]
            case 0x15:
                place += when_true if held == operand else when_false
            case 0x35:
                place += when_true if held >= operand else when_false
            case 0x45:
                place += when_true if held & operand else when_false
            case _:
                return operand
