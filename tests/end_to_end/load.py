"""Checked questions to the model `simple`, and load that goes on while something breaks."""

import threading
import time

from support import PATIENCE, decode, eventually, same, sums
from traffic import is_hit, put


def ask(server, first=1):
    """Asks and checks the answer; returns whether it came from the cache."""
    inputs, expected = sums(first)
    reply = put(server, "simple", inputs)
    answer = decode(reply)
    for name, array in expected.items():
        same(answer[name], array)
    return is_hit(reply)


def wait_hits(server, firsts=(1,), what="hits", patience=PATIENCE):
    """Asks until each of the questions is answered from the cache, all in one turn."""
    def all_hit():
        missed = [first for first in firsts if not ask(server, first)]
        assert not missed, f"misses: {missed}"
        return True

    eventually(all_hit, what, patience)


def complaints(server, pattern=""):
    """The log's warnings and errors about Redis."""
    return server.lines(rf"^[EW].*cache 'redis'.*{pattern}")


def wait_complaint(server, pattern):
    """Waits for the one line of the log that says what is wrong."""
    server.wait_log(rf"^[EW].*cache 'redis'.*{pattern}")
    (line,) = complaints(server, pattern)
    return line


PACE = 0.005  # seconds between the questions of one thread: load that shows what it meets, and leaves the processor to others


class Load:
    """Context manager: threads ask questions by check(server, first), which raises if an answer is wrong. The first
    failure is raised by go_on() or at the exit."""

    def __init__(self, server, questions=40, threads=3, check=ask):
        self.server, self.questions, self.check = server, questions, check
        self.answered, self.failures, self.over = 0, [], False
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self._ask, args=[i * 7], daemon=True) for i in range(threads)]

    def _ask(self, position):
        while not self.over:
            try:
                self.check(self.server, position % self.questions)
            except BaseException as failure:  # raised in the test's thread
                with self.changed:
                    self.failures.append(failure)
                    self.changed.notify_all()
                return
            position += 1
            time.sleep(PACE)
            with self.changed:
                self.answered += 1
                self.changed.notify_all()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.go_on()
        return self

    def go_on(self, count=20):
        """Waits for `count` more answers."""
        with self.changed:
            goal = self.answered + count
            came = self.changed.wait_for(lambda: self.failures or self.answered >= goal, PATIENCE)
            if self.failures:
                raise self.failures[0]
            assert came, f"{goal - self.answered} of {count} answers are missing"

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.go_on()
        finally:
            self.over = True
            for thread in self.threads:
                thread.join(PATIENCE)
        if kind is None and self.failures:
            raise self.failures[0]
