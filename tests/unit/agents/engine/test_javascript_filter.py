import pytest

from agents.engine.javascript_filter import CLONE3, FORBIDDEN, MACHINES, build_filter

ALLOW, REFUSE, MISSING, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
THREAD = 0x3D0F00
"""Clone flags of libc for threads."""


def verdict(name: str, number: int, first_argument: int = 0, audit: int | None = None) -> int:
    """Interpret the filter's instructions; return its verdict on a call."""
    machine = MACHINES[name]
    steps, held, place = build_filter(machine), 0, 0
    while True:
        code, when_true, when_false, operand = steps[place]
        place += 1
        match code:
            case 0x20:
                held = {0: number, 4: audit or machine.audit, 16: first_argument}[operand]
            case 0x15:
                place += when_true if held == operand else when_false
            case 0x35:
                place += when_true if held >= operand else when_false
            case 0x45:
                place += when_true if held & operand else when_false
            case _:
                return operand


@pytest.mark.parametrize("name", MACHINES)
def test_exactly_the_listed_calls_are_refused(name: str) -> None:
    verdicts = {number: verdict(name, number) for number in range(1000)}
    refused = {number for number, answer in verdicts.items() if answer == REFUSE}
    assert refused == {*MACHINES[name].forbidden, MACHINES[name].clone}
    assert {number for number, answer in verdicts.items() if answer == MISSING} == {CLONE3}
    assert set(verdicts.values()) == {ALLOW, REFUSE, MISSING}


@pytest.mark.parametrize("name", MACHINES)
def test_call_numbers_are_unique(name: str) -> None:
    numbers = [*MACHINES[name].forbidden, MACHINES[name].clone, CLONE3]
    assert len(numbers) == len(set(numbers))
    assert len(MACHINES["x86_64"].forbidden) == len(FORBIDDEN)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("flags", "answer"), [(THREAD, ALLOW), (17, REFUSE), (0x4111, REFUSE)])
def test_clone_is_allowed_for_threads_only(name: str, flags: int, answer: int) -> None:
    assert verdict(name, MACHINES[name].clone, flags) == answer


def test_other_calling_conventions_are_refused_or_kill_the_process() -> None:
    assert verdict("x86_64", 0x40000000 | 41) == REFUSE
    assert verdict("x86_64", 0x40000000) == REFUSE
    assert verdict("x86_64", 5, audit=0x40000003) == KILL
