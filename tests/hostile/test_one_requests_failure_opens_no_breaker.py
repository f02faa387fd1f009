"""A failure that one request causes is its own: the backend stays in service for the others."""

from __future__ import annotations

from collections import Counter

from forms import tower, words

FAILURES = 24
# What a request may cause at a backend that is well: refusals, its own faults, a broken answer.
SCRIPTS = [
    *(f"status={status}" for status in (400, 401, 403, 404, 409, 413, 422, 500, 501)),
    *(f"chunks=9 error_after={at}" for at in (0, 1, 5)),
]
HONEST = 3
FORMS = 12


def test_a_backend_that_refuses_one_request_serves_the_next(stage, members):
    scripts = [lambda _, s=script: s for script in SCRIPTS]
    with (
        stage.neighbours().beside() as neighbours,
        stage.edge.http(stage.attacker.secret) as http,
        stage.edge.http(stage.other.secret) as other,
    ):
        refused = Counter()
        for script in members.each(scripts, FAILURES):
            # As often in a row as a breaker may count.
            for _ in range(5):
                http.post("/v1/chat/completions", json=stage.chat(f"[script {script}]"))
            for _ in range(HONEST):
                body = stage.chat("[script chunks=2]")
                status = other.post("/v1/chat/completions", json=body).status_code
                refused[script] += status != 200
    neighbours.unharmed()
    assert not +refused, f"of {HONEST} after each: {+refused}"


def test_forms_that_fail_in_decoding_leave_plain_chats_alone(town, members):
    # Long enough that failures before and after it are told apart.
    honest = town.chat(max_tokens=100, ignore_eos=True)
    with (
        town.edge.http(town.attacker.secret) as http,
        town.edge.http(town.other.secret) as other,
    ):
        attacked, refused = Counter(), Counter()
        for form in members.each([tower, words], FORMS):
            body = {**town.chat(max_tokens=60), **form.fields}
            attacked[http.post("/v1/chat/completions", json=body).status_code] += 1
            status = other.post("/v1/chat/completions", json=honest).status_code
            refused[form.name] += status != 200
    assert not +refused, +refused
    assert set(attacked) <= {200, 400}, attacked
