"""What every answer of the data plane carries."""

import re

from harness import eventually, metrics

STAGES = ("auth", "rate-limit", "safety", "orchestrator", "router", "llm")


def chat(edge, key, model, **options):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **options}
    with edge.http(key.secret) as http:
        return http.post("/v1/chat/completions", json=body)


def test_every_answer_has_a_request_id_of_its_own(edge, key, model):
    answers = [chat(edge, key, model, max_tokens=1) for _ in range(3)]
    answers.append(chat(edge, key, "no-such-model"))
    with edge.http() as http:
        answers.append(http.get("/v1/models"))
        answers.append(http.get("/v1/no-such-route"))
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)


def test_server_timing_has_a_figure_for_each_stage(edge, key, model):
    timing = chat(edge, key, model, max_tokens=1).headers["server-timing"]
    figures = dict(re.findall(r"([a-z-]+);dur=([0-9.]+)", timing))
    for stage in STAGES:
        assert float(figures[stage]) >= 0, timing
    assert float(figures["llm"]) > 0, timing
    counted = metrics(edge.operator)
    for stage in STAGES:
        name = "edge_component_stage_seconds_count"
        assert counted[f'{name}{{component="gateway",stage="{stage}"}}'] > 0


def test_the_six_limits_are_on_good_answers_too(edge, key, model):
    for options in ({}, {"stream": True}):
        headers = chat(edge, key, model, max_tokens=1, **options).headers
        for quantity in ("requests", "tokens"):
            limit = int(headers[f"x-ratelimit-limit-{quantity}"])
            assert 0 <= int(headers[f"x-ratelimit-remaining-{quantity}"]) < limit
            assert re.fullmatch(r"(\d+m)?\d+(\.\d+)?m?s", headers[f"x-ratelimit-reset-{quantity}"])


def test_a_stream_is_an_event_stream_that_nobody_caches(edge, key, model):
    headers = chat(edge, key, model, max_tokens=1, stream=True).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert "no-" in headers["cache-control"]


def test_http_2_is_spoken_over_tls_1_3(edge, key, model):
    with edge.http(key.secret, http2=True) as http:
        answer = http.get("/v1/models")
        assert answer.http_version == "HTTP/2"
        stream = answer.extensions["network_stream"]
        assert stream.get_extra_info("ssl_object").version() == "TLSv1.3"


def test_usage_can_be_read_back(edge, admin, model):
    key = admin.make_key(project=admin.make_project("counted"), name="counted")
    answers = [chat(edge, key, model, max_tokens=5).json() for _ in range(3)]
    expected = {
        "input_tokens": sum(a["usage"]["prompt_tokens"] for a in answers),
        "output_tokens": sum(a["usage"]["completion_tokens"] for a in answers),
        "num_model_requests": 3,
    }
    eventually(lambda: admin.usage(project_ids=[key.project]) == expected, 15, "usage arrives")
