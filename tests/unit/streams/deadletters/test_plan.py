from streams.deadletters.dead_letter import Filter
from streams.deadletters.plan import DryRun, ReplayPlan, Totals
from tests.unit.streams.deadletters.builders import stored_dead_letter


def test_matching_but_refused_dead_letters_are_counted_as_skipped() -> None:
    plan, totals = ReplayPlan(Filter(step="download")), Totals()
    dead_letters = [
        stored_dead_letter(name="0-1", step="download"),
        stored_dead_letter(name="0-2", step="download", replays=1),
        stored_dead_letter(name="0-3", step="extraction"),
    ]
    assert [plan.selects(each, totals) for each in dead_letters] == [True, False, False]
    assert totals.seen == {"0-1", "0-2"}
    assert totals.skipped == {"parked: requires --force": 1}


def test_dry_run_is_complete_at_the_limit_of_the_plan() -> None:
    dry_run = DryRun(ReplayPlan(Filter(), limit=1))
    dead_letters = [stored_dead_letter(replays=1), stored_dead_letter(name="0-2")]
    assert [dry_run.add(each) for each in dead_letters] == [False, True]
    assert dry_run.is_complete
    assert (dry_run.totals.replayed, sum(dry_run.totals.skipped.values())) == (1, 1)
