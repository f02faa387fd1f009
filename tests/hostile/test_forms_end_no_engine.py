"""A form of an answer that cannot be compiled is its sender's 400, and nothing of anybody else's."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from forms import RULES, Form, optional, small
from harness import alive

FORMS = 24
FORMED_NEIGHBOURS = 12
LARGE_AT_ONCE = 4
# A share that is used up is told as such, and that waiting helps.
BUSY = frozenset({429, 503})


def ask(http, town, form: Form):
    body = town.chat("Hello!", max_tokens=8)
    return http.post("/v1/chat/completions", json={**body, **form.fields})


def formed(http, town, at: int) -> None:
    """An honest form, new to the engine, and the only answer that it has."""
    fields, value = small(at)
    body = {**town.chat("Hello!", max_tokens=40), **fields}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, (answer.status_code, answer.text[:300])
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == value


@pytest.fixture
def engine(town):
    """The same engine, in the same process, from the first member to the last."""
    pid, deaths = town.edge.engine_pid(), town.deaths()
    yield pid
    assert alive(pid), "the engine died"
    assert town.deaths() == deaths and town.edge.engine_pids() == [pid]


def test_no_form_ends_the_engine_or_a_neighbours_stream(town, members, engine):
    wrong = {}
    with (
        town.neighbours().beside() as neighbours,
        town.edge.http(town.attacker.secret) as http,
        town.edge.http(town.other.secret) as other,
    ):
        for at, form in enumerate(members.each(RULES, FORMS)):
            answer = ask(http, town, form)
            if answer.status_code not in form.statuses:
                wrong[form.name] = (answer.status_code, answer.text[:200])
            formed(other, town, at)
            if not alive(engine):
                break
    assert alive(engine), f"the engine died of {form.name}"
    neighbours.unharmed()
    assert not wrong, wrong


def test_forms_that_compile_for_long_keep_no_neighbours_form_waiting(town, members, engine):
    dice = members.random()
    large = [optional(dice) for _ in range(members.count(LARGE_AT_ONCE))]

    def attack(form: Form):
        with town.edge.http(town.attacker.secret) as http:
            return ask(http, town, form)

    with (
        town.neighbours().beside() as neighbours,
        ThreadPoolExecutor(len(large)) as attackers,
        town.edge.http(town.other.secret) as other,
    ):
        answers = [attackers.submit(attack, form) for form in large]
        for at in range(FORMED_NEIGHBOURS):
            formed(other, town, 100_000 + at)
        statuses = Counter(answer.result().status_code for answer in answers)
    neighbours.unharmed()
    assert set(statuses) <= {200, 400} | BUSY, statuses
    # What was not tried is never called wrong: a client would not try again.
    for answer in answers:
        if answer.result().status_code in BUSY:
            assert int(answer.result().headers["retry-after"]) > 0
