"""The README's quick start, as far as it happens after the build."""

import os
import subprocess

import httpx2

from harness import ROOT, edge_up


def paste(edge, **variables):
    return subprocess.run(
        ["bash", "-c", edge.curl_line],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **variables},
        check=False,
    )


def check_streamed(ended):
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("data: {") > 1, ended.stdout
    assert ended.stdout.rstrip().endswith("data: [DONE]")


def test_the_printed_curl_line_streams_an_answer_when_pasted(edge):
    check_streamed(paste(edge))


def test_so_it_does_with_another_backend_whose_models_have_other_names(scripted_edge):
    check_streamed(paste(scripted_edge))


def test_so_it_does_on_another_address(scripted):
    with edge_up("--backend", scripted.url, host="127.0.0.2") as edge:
        assert f"{edge.url}/" in edge.printed()
        check_streamed(paste(edge))


def test_so_it_does_at_a_later_start_with_a_key_in_the_variable(scripted, tmp_path):
    state = tmp_path / "state"
    with edge_up("--backend", scripted.url, state=state) as edge:
        key = edge.first_key
    with edge_up("--backend", scripted.url, state=state) as edge:
        assert key not in edge.printed()
        assert "export SKERRY_API_KEY=" in edge.printed()
        check_streamed(paste(edge, SKERRY_API_KEY=key))
        unset = paste(edge, SKERRY_API_KEY="")
        assert unset.returncode != 0
        assert "SKERRY_API_KEY: set it" in unset.stderr


def test_the_banner_names_the_page_and_the_page_is_there(edge):
    assert edge.url in edge.printed()
    with edge.http() as http:
        page = http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<html" in page.text


def test_the_operators_port_tells_health_and_figures(edge):


    for path in ("/healthz", "/readyz", "/metrics"):
        assert httpx2.get(f"{edge.operator}{path}", timeout=5).status_code == 200, path


def test_validate_accepts_the_manifest_and_names_what_is_wrong(edge, tmp_path):
    command = edge.popen.args[0]
    good = subprocess.run([command, "validate"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert good.returncode == 0, good.stderr
    broken = tmp_path / "spin.toml"
    broken.write_text(
        'spin_manifest_version = 2\n[application]\nname = "x"\n'
        '[[trigger.http]]\nroute = "/"\ncomponent = "missing"\n'
    )
    bad = subprocess.run(
        [command, "validate", "--from", str(broken)], capture_output=True, text=True, check=False
    )
    assert bad.returncode != 0
    assert "missing" in bad.stderr + bad.stdout


def test_no_prompt_and_no_key_is_in_the_logs(edge, key, client, model):
    secret = "a-canary-that-nobody-else-says"
    client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": f"Hello {secret}"}], max_tokens=4
    )
    logs = edge.logged() + edge.printed()
    assert secret not in logs
    assert key.secret not in logs
