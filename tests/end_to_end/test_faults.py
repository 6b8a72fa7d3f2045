"""Redis in trouble while requests go on: none fails, none is answered wrongly, hits come back, and the log stays short.

tests/faults/run measures the same, and more, at every place."""

import pytest

from load import Load, ask, wait_hits
from trouble import TROUBLES

SHORT = [("single", name) for name in ("killed", "stopped", "swallowed", "torn", "halved", "cut", "full", "read_only",
                                       "loading", "busy", "rotated", "corrupt")]
SHORT += [("named", "name_unknown"), ("named", "no_name_server")]
QUESTIONS = range(40)
LINES = 20  # of the log, for a trouble's beginning and end


@pytest.mark.parametrize("where, name", SHORT)
def test_trouble(serve, repository, place, name):
    server = serve(repository.add("simple"), *place.cache(), "--threads=1", wrapper=place.wrapper)
    wait_hits(server, QUESTIONS)
    lines = len(server.log)
    with Load(server, len(QUESTIONS)) as load:
        with TROUBLES[name].befall(place):
            load.go_on(200)
            for first in range(1000, 1020):
                ask(server, first)
        wait_hits(server, QUESTIONS, "hits of what was known")
        wait_hits(server, range(2000, 2010), "hits of what is new")
    said = server.log[lines:]
    assert len(said) <= LINES, "\n".join(said)
    assert server.statistics("simple")["fail"] == 0
