import pytest

from pwm.runtime import progress as module
from pwm.runtime.progress import Phase, Progress, clock, progress


class Unread:
    """A value that must not be looked at, as a tensor still being computed must not."""

    def __float__(self):
        pytest.fail("value read though nothing was drawn")


@pytest.fixture
def time(monkeypatch):
    """A clock that the test moves: `time.now`, in seconds."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(module.time, "perf_counter", lambda: Clock.now)
    return Clock


def test_plain_lines_are_rare_and_tell_the_time_left(capsys, time):
    with progress("World model", total=40) as p:
        for _ in range(20):
            time.now += 0.5
            p.advance(1, loss=0.125)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "World model: 10/40  2/s  0:05 elapsed  0:15 left  loss 0.125",
        "World model: 20/40  2/s  0:10 elapsed  0:10 left  loss 0.125",
        "World model: 20/40  2/s  0:10 elapsed  0:10 left  loss 0.125",
    ]


def test_values_are_read_only_when_drawn(capsys, time):
    with progress("x", total=10) as p:
        p.advance(1, loss=Unread())
        p.advance(1, loss=1.0, stage="warm-up")
    assert "2/10" in (out := capsys.readouterr().out) and "loss 1  stage warm-up" in out


def test_rate_of_a_resumed_run_counts_its_own_steps(time):
    p = Progress("x", total=100, done=80)
    p.advance(10)
    assert p.facts(5.0) == "90/100  2/s  0:05 elapsed  0:05 left"


def test_the_time_left_follows_the_pace_of_the_last_seconds():
    bar = progress("x", 1000)
    bar.done = 500
    bar.facts(10.0)
    for second in range(11, 41):
        bar.done += 1
        text = bar.facts(float(second))
    assert "1/s" in text and "7:50 left" in text


def test_before_the_first_step_the_time_left_is_unknown():
    assert "? left" in Progress("x", total=3).facts(0.0)


def test_terminal_shows_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with progress("World model", total=2) as p:
        p.advance(2, loss=0.5)
    out = capsys.readouterr().out
    assert "World model" in out and "2/2" in out and "loss 0.5" in out


def test_clock():
    assert [clock(s) for s in (-1, 0.4, 65, 3665)] == ["0:00", "0:00", "1:05", "1:01:05"]


def test_steps_that_are_dropped_do_not_count(capsys, time):
    with progress("Films", total=3) as p:
        time.now += 1.0
        p.advance()
        p.drop(2)
    assert capsys.readouterr().out == "Films: 1/1  1/s  0:01 elapsed  0:00 left\n"
    with progress("Films", total=3) as p:
        p.drop(3)
    assert capsys.readouterr().out == ""


# Imitation is fast: 10 steps per second. The other two take a second, and cost eight times as much by formula.
PHASES = (Phase("imitation", 100, 1.0), Phase("critics", 5, 8.0), Phase("imagination", 20, 8.0))


def test_phases_are_named_and_the_time_left_foresees_their_costs(time):
    with progress("Policies", 125, phases=PHASES) as bar:
        for _ in range(50):
            time.now += 0.1
            bar.advance()
        assert bar.facts(time.now - 100.0) == "50/125  imitation 50/100  10/s  0:05 elapsed  0:25 left"
        for _ in range(50):
            time.now += 0.1
            bar.advance()
        # No step of the next phase yet: its cost is that of the formula.
        assert bar.facts(time.now - 100.0) == "100/125  critics 0/5  0/s  0:10 elapsed  0:20 left"
        time.now += 1.0
        bar.advance()
        assert bar.facts(time.now - 100.0) == "101/125  critics 1/5  1/s  0:11 elapsed  0:24 left"  # as it turns out
        for _ in range(24):
            time.now += 1.0
            bar.advance()
        assert bar.facts(time.now - 100.0) == "125/125  imagination 20/20  1/s  0:35 elapsed  0:00 left"


@pytest.mark.parametrize(
    ("done", "named"),
    [(0, "imitation 0/100"), (100, "critics 0/5"), (110, "imagination 5/20"), (125, "imagination 20/20")],
)
def test_a_resumed_run_begins_in_its_phase(done, named):
    assert f"{done}/125  {named}  " in Progress("Policies", 125, done, PHASES).facts(0.0)


def test_one_phase_has_no_name():
    assert "imagination" not in Progress("Policies", 20, 0, (Phase("imitation", 0, 1.0), PHASES[2])).facts(0.0)
