"""Half-open IKE SAs over time: the most there were, and those that never went away."""

from orchestrator.daemon_watch import LAST, DaemonFigures


def test_the_peak_is_the_most_at_any_look():
    assert DaemonFigures(half_open={0.0: 1, 0.5: 4, 1.0: 2}).half_open_peak == 4
    assert DaemonFigures().half_open_peak == 0


def test_an_attempt_at_the_end_is_not_left():
    assert DaemonFigures(half_open={0.0: 3, LAST: 0, LAST + 1: 1}).half_open_left == 0


def test_what_is_there_at_every_look_is_left():
    looks = {float(second): 2 + second % 2 for second in range(60)}
    assert DaemonFigures(half_open={0.0: 0, **looks}).half_open_left == 2
