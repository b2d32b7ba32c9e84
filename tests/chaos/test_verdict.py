"""The verdict finds each thing that must never be, in a run that was good until it was put there."""

from collections.abc import Callable

import pytest

from tests.chaos.plan import has_content, plan_answer
from tests.chaos.record import Anomaly, Asked, Fault, History, Life, Outage, Sent, Watched
from tests.chaos.verdict import Run, judge

KEY = "key-1"
ERROR = b'{"error":{"code":"stream_interrupted"}}'
SAID = plan_answer(1, KEY, 1, longest_s=10).said


def heard(watched: Watched, name: str, data: list[bytes], *, at: float = 10.0) -> History:
    """A reader that was there from the beginning, and read `data` to the end."""
    history = History(watched.id, name, watched.known, now=0.0)
    history.listening.append((0.0, 100.0))
    for place, each in enumerate(data, 1):
        history.hear(place, "", each, now=at)
    history.end(None)
    watched.histories.append(history)
    return history


def good_run() -> Run:
    """One stream that is complete, and one whose worker was killed at 5.0, with a lease of 2."""
    whole = Watched("st_whole", KEY, 0.0, state=("completed", len(SAID)))
    cut = Watched("st_cut", "key-2", 0.0, state=("interrupted", 4))
    said = [data.encode() for data in SAID]
    cut_said = plan_answer(1, "key-2", 1, longest_s=10).said
    begin = [data.encode() for data in cut_said[:3]]
    for name in ("one", "other"):
        heard(whole, name, said)
        heard(cut, name, [*begin, ERROR], at=7.5)
    return Run(
        book=[
            Asked(KEY, 1, "0.1", 0.0),
            Sent(KEY, 1, SAID, is_whole=True),
            Asked("key-2", 1, "1.1", 0.0),
            Sent("key-2", 1, cut_said[:5], is_whole=False),
        ],
        watched=[whole, cut],
        lives=[Life("0.1", 0.0, 1.0), Life("1.1", 0.0, 1.0, killed_at=5.0, ended_at=5.0)],
        outages=[],
        lease_s=2.0,
    )


def lose_the_middle(run: Run) -> None:
    history = run.watched[0].histories[0]
    history.hear(history.last_id + 2, "", b"{}", now=10.0)


def lose_the_end(run: Run) -> None:
    run.watched[0].histories[1].data.pop()


def lose_it_for_all(run: Run) -> None:
    for history in run.watched[0].histories:
        history.data.pop(3)
    run.watched[0].known.pop(3)


def double(run: Run) -> None:
    run.watched[0].histories[0].hear(1, "", run.watched[0].known[0], now=10.0)


def change_for_one(run: Run) -> None:
    run.watched[0].histories[1].data[2] = b'{"other":1}'


def change_for_all(run: Run) -> None:
    for history in run.watched[0].histories:
        history.data[2] = b'{"other":1}'
    run.watched[0].known[2] = b'{"other":1}'


def invent(run: Run) -> None:
    cut = run.watched[1]
    for history in (*cut.histories, None):
        (cut.known if history is None else history.data).insert(3, b'{"other":1}')
    cut.state = ("interrupted", 5)


def never_end(run: Run) -> None:
    run.watched[0].histories[0].is_over = False


def end_without_saying_so(run: Run) -> None:
    run.watched[1].state = ("completed", 4)


def end_another_way(run: Run) -> None:
    run.watched[0].histories[0].ending = "failed"


def bury_the_living(run: Run) -> None:
    run.lives[1].killed_at = None


def fail(run: Run) -> None:
    run.watched[1].state = ("failed", 4)


def ask_again(run: Run) -> None:
    run.book = [*run.book, Asked(KEY, 2, "0.1", 1.0)]


def fill_two_streams(run: Run) -> None:
    twin = Watched("st_twin", KEY, 0.0, state=("completed", len(SAID)))
    heard(twin, "one", list(run.watched[0].known))
    run.book = [*run.book, Asked(KEY, 2, "0.1", 1.0)]
    run.watched = [*run.watched, twin]


def be_late(run: Run) -> None:
    run.watched[1].histories[0].read_at = 8.1


FAULTS: dict[Callable[[Run], None], Fault] = {
    lose_the_middle: Fault.LOST,
    lose_the_end: Fault.LOST,
    lose_it_for_all: Fault.CHANGED,
    double: Fault.DOUBLED,
    change_for_one: Fault.CHANGED,
    change_for_all: Fault.CHANGED,
    invent: Fault.CHANGED,
    never_end: Fault.ENDLESS,
    end_without_saying_so: Fault.WRONG_ENDING,
    end_another_way: Fault.WRONG_ENDING,
    bury_the_living: Fault.WRONG_ENDING,
    fail: Fault.WRONG_ENDING,
    ask_again: Fault.ASKED_TWICE,
    fill_two_streams: Fault.ASKED_TWICE,
    be_late: Fault.LATE,
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_what_must_never_be_is_found(spoil: Callable[[Run], None]) -> None:
    run = good_run()
    spoil(run)
    assert FAULTS[spoil] in {anomaly.fault for anomaly in judge(run).anomalies}


def test_in_a_good_run_nothing_is_found() -> None:
    verdict = judge(good_run())
    assert verdict.anomalies == []
    assert verdict.endings == {"completed": 1, "interrupted": 1}
    assert [round(wait.whole_s, 3) for wait in verdict.waits] == [2.5, 2.5]
    assert [round(wait.overdue_s, 3) for wait in verdict.waits] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("excuse", "overdue_s"),
    [
        (lambda run: run.outages.append(Outage(5.5, 6.0)), 0.1),  # well for a lease from 8.0 on
        (lambda run: run.outages.append(Outage(1.0, 2.0)), 1.1),
        (lambda run: run.stalls.append(Outage(5.3, 5.6)), 0.5),
        (lambda run: setattr(run.lives[0], "serving_at", 5.5), 0.6),  # up for a lease from 7.5 on
        (lambda run: setattr(run.lives[0], "ended_at", 7.2), 0.2),
        (lambda run: run.watched[1].histories[0].listening.__setitem__(0, (0.0, 7.4)), 0.4),
    ],
    ids=[
        "outage",
        "early outage",
        "stall",
        "young worker",
        "no worker",
        "the reader's own pause",
    ],
)
def test_a_wait_counts_only_while_somebody_could_have_ended_it(
    excuse: Callable[[Run], None], overdue_s: float
) -> None:
    run = good_run()
    run.outages, run.stalls = [], []
    be_late(run)
    excuse(run)
    assert round(judge(run).waits[0].overdue_s, 3) == overdue_s


def test_what_was_noticed_at_once_is_in_the_verdict() -> None:
    run = good_run()
    run.noted = [Anomaly(Fault.BROKEN, "a worker", "ended by itself")]
    assert judge(run).anomalies == run.noted


def test_an_answer_has_content_once_the_model_has_said_something() -> None:
    said = [data.encode() for data in SAID]
    assert not has_content([])
    assert not has_content([said[0], ERROR])
    assert has_content(said[:2])
