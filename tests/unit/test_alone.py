"""How tests side by side agree on who runs: :mod:`alone`."""

import threading

from alone import Place

PATIENCE = 10
SHORT = 0.2


class Attempt:
    """Somebody who wants a place, in a thread."""

    def __init__(self, folder, alone):
        self.inside, self.go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, alone))
        self._thread.start()

    def _run(self, folder, alone):
        place = Place(folder)
        place.take(alone=alone)
        self.inside.set()
        self.go.wait(PATIENCE)
        place.leave(keep=False)
        place.close()

    def leave(self):
        self.go.set()
        self._thread.join()


def test_tests_that_measure_nothing_run_beside_each_other(tmp_path):
    attempts = [Attempt(tmp_path, alone=False) for _ in range(3)]
    assert all(attempt.inside.wait(PATIENCE) for attempt in attempts)
    for attempt in attempts:
        attempt.leave()


def test_who_wants_to_be_alone_waits_for_the_others_and_is_not_overtaken(tmp_path):
    first = Attempt(tmp_path, alone=False)
    assert first.inside.wait(PATIENCE)
    measuring = Attempt(tmp_path, alone=True)
    assert not measuring.inside.wait(SHORT)
    later = Attempt(tmp_path, alone=False)
    assert not later.inside.wait(SHORT)
    first.leave()
    assert measuring.inside.wait(PATIENCE)
    assert not later.inside.is_set()
    measuring.leave()
    assert later.inside.wait(PATIENCE)
    later.leave()


def test_who_wants_to_be_alone_again_keeps_the_place_and_nobody_comes_between(tmp_path):
    place = Place(tmp_path)
    place.take(alone=True)
    other = Attempt(tmp_path, alone=False)
    for keep in (True, True, False):
        assert not other.inside.wait(SHORT)
        place.leave(keep=keep)
        if keep:
            place.take(alone=True)
    assert other.inside.wait(PATIENCE)
    other.leave()
    place.close()


def test_a_worker_that_dies_leaves_its_place(tmp_path):
    place = Place(tmp_path)
    place.take(alone=True)
    place.leave(keep=True)
    place.close()
    other = Attempt(tmp_path, alone=False)
    assert other.inside.wait(PATIENCE)
    other.leave()
