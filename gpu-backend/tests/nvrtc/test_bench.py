"""`bench/gpu` without a GPU: which CUDA it takes from a machine's folders, and what it makes
of every way in which a stage can end."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BENCH = HERE.parent.parent / "bench"
sys.path.insert(0, str(BENCH))

import gpu_machine as machine  # noqa: E402

SCRIPT = runpy.run_path(str(BENCH / "gpu"))


# ── Which CUDA ──

def nvrtc(root, version, folder="lib64", link=True):
    major = version.split(".")[0]
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / f"libnvrtc.so.{major}").write_text(version)
    (place / f"libnvrtc-builtins.so.{version}").write_text(version)
    if link:
        (place / "libnvrtc.so").write_text(version)


def cuda_headers(root, version, lacking=()):
    major, minor = map(int, version.split("."))
    include = root / "include"
    (include / "crt").mkdir(parents=True)
    for name in machine.HEADERS:
        if name not in lacking:
            (include / name).write_text("")
    (include / "cuda.h").write_text(f"#define CUDA_VERSION {major * 1000 + minor * 10}\n")


def toolkit(base, name, version):
    nvrtc(base / name, version)
    cuda_headers(base / name, version)


def wheel(base, version, lacking=("crt/host_defines.h",)):
    """torch's packages: NVRTC without `libnvrtc.so`, and headers without `crt`."""
    nvrtc(base / "site/nvidia/cu13", version, "lib", link=False)
    cuda_headers(base / "site/nvidia/cu13", version, lacking)


def one_toolkit(base):
    toolkit(base, "usr/local/cuda", "13.0")


def named_by_variable(base):
    toolkit(base, "elsewhere", "13.0")
    toolkit(base, "usr/local/cuda", "13.0")


def two_versions(base):
    toolkit(base, "usr/local/cuda-12.9", "12.9")
    toolkit(base, "usr/local/cuda-13.0", "13.0")


def wheel_alone_has_nvrtc(base):
    cuda_headers(base / "usr/local/cuda", "13.0")
    wheel(base, "13.0")


def wheel_is_newer(base):
    toolkit(base, "usr/local/cuda", "13.0")
    wheel(base, "13.5")


def wheel_is_whole(base):
    wheel(base, "13.0", lacking=())


def wheel_has_the_better_nvrtc_and_no_headers(base):
    toolkit(base, "usr/local/cuda", "12.9")
    wheel(base, "13.0")


def beside_nvcc(base):
    toolkit(base, "opt/odd/toolkit", "13.0")
    (base / "opt/odd/toolkit/bin").mkdir()
    (base / "opt/odd/toolkit/bin/nvcc").write_text("")


def debian(base):
    nvrtc(base / "usr", "12.4", "lib/x86_64-linux-gnu")
    cuda_headers(base / "usr", "12.4")


def with_decoys(base):
    toolkit(base, "usr/local/cuda", "13.0")
    lib = base / "usr/local/cuda/lib64"
    # Of a wheel, of no version, and builtins without their NVRTC.
    (lib / "libnvrtc-builtins.alt.so.13.9").write_text("")
    (lib / "libnvrtc-builtins.so").write_text("")
    (lib / "libnvrtc-builtins.so.14.0").write_text("")
    (lib / "libnvrtc.so").unlink()


CHOICES = [
    # What there is, the driver, NVRTC's folder and version, the headers' root.
    (one_toolkit, (13, 0), "usr/local/cuda/lib64", (13, 0), "usr/local/cuda"),
    (named_by_variable, (13, 0), "elsewhere/lib64", (13, 0), "elsewhere"),
    (two_versions, (13, 0), "usr/local/cuda-13.0/lib64", (13, 0), "usr/local/cuda-13.0"),
    (two_versions, (12, 9), "usr/local/cuda-12.9/lib64", (12, 9), "usr/local/cuda-12.9"),
    (two_versions, (14, 1), "usr/local/cuda-13.0/lib64", (13, 0), "usr/local/cuda-13.0"),
    # None is as old as the driver: the least new one.
    (two_versions, (12, 2), "usr/local/cuda-12.9/lib64", (12, 9), "usr/local/cuda-12.9"),
    (wheel_alone_has_nvrtc, (13, 0), "site/nvidia/cu13/lib", (13, 0), "usr/local/cuda"),
    (wheel_is_newer, (13, 0), "usr/local/cuda/lib64", (13, 0), "usr/local/cuda"),
    (wheel_is_newer, (13, 6), "usr/local/cuda/lib64", (13, 0), "usr/local/cuda"),
    (wheel_is_whole, (13, 0), "site/nvidia/cu13/lib", (13, 0), "site/nvidia/cu13"),
    (wheel_has_the_better_nvrtc_and_no_headers, (13, 0), "usr/local/cuda/lib64", (12, 9), "usr/local/cuda"),
    (beside_nvcc, (13, 0), "opt/odd/toolkit/lib64", (13, 0), "opt/odd/toolkit"),
    (debian, (13, 0), "usr/lib/x86_64-linux-gnu", (12, 4), "usr"),
    (with_decoys, (14, 0), "usr/local/cuda/lib64", (13, 0), "usr/local/cuda"),
]


def roots_of(base):
    variables = {"CUDA_HOME": str(base / "elsewhere")}
    nvcc = base / "opt/odd/toolkit/bin/nvcc"
    return machine.roots(variables, nvcc if nvcc.exists() else None, base / "site", base)


@pytest.mark.parametrize(("there_is", "driver", "library", "version", "headers"), CHOICES,
                         ids=[f"{case[0].__name__}-{case[1]}" for case in CHOICES])
def test_nvrtc_and_headers_that_go_together_are_chosen(tmp_path, there_is, driver, library, version, headers):
    there_is(tmp_path)
    compiler, header = machine.choose(roots_of(tmp_path), driver)
    assert (compiler.library.parent, compiler.version) == (tmp_path / library, version)
    assert header.root == tmp_path / headers


@pytest.mark.parametrize(("there_is", "lacks"), [
    (lambda base: None, "no NVRTC"),
    (lambda base: cuda_headers(base / "usr/local/cuda", "13.0"), "no NVRTC"),
    (lambda base: nvrtc(base / "usr/local/cuda", "13.0"), "no CUDA headers"),
    (lambda base: wheel(base, "13.0"), "no CUDA headers"),
    (lambda base: wheel(base, "13.0", lacking=("cuda_fp16.h",)), "no CUDA headers"),
])
def test_what_is_missing_is_named_with_the_places_that_were_looked_at(tmp_path, there_is, lacks):
    there_is(tmp_path)
    with pytest.raises(machine.Missing, match=lacks) as raised:
        machine.choose(roots_of(tmp_path), (13, 0))
    for root in roots_of(tmp_path):
        assert str(root) in str(raised.value)


@pytest.mark.parametrize("before", [None, "/somewhere:/else"])
@pytest.mark.parametrize("there_is", [one_toolkit, wheel_alone_has_nvrtc, debian])
def test_the_engine_finds_the_chosen_nvrtc_under_every_name_and_its_builtins(tmp_path, there_is, before):
    there_is(tmp_path)
    compiler, header = machine.choose(roots_of(tmp_path), (13, 0))
    env = machine.environment(compiler, header, tmp_path / "links", {"LD_LIBRARY_PATH": before} if before else {})
    assert env["CUDA_PATH"] == str(header.root)
    path = env["LD_LIBRARY_PATH"].split(":")
    assert path[:2] == [str(tmp_path / "links"), str(compiler.library.parent)]
    assert path[2:] == (before.split(":") if before else [])
    for name in ("libnvrtc.so", f"libnvrtc.so.{compiler.version[0]}", compiler.builtins.name):
        assert (tmp_path / "links" / name).read_text() == machine.written(compiler.version), name


@pytest.mark.parametrize(("name", "peaks"), [
    ("NVIDIA H200", (4800, 989)),
    ("NVIDIA A100-SXM4-80GB", (2039, 312)),
    ("NVIDIA A100-SXM4-40GB", (1555, 312)),
    ("NVIDIA GeForce", None),
    (None, None),
])
def test_a_gpu_has_its_data_sheet_by_its_name(name, peaks):
    assert machine.datasheet(name) == peaks


@pytest.mark.parametrize(("log", "rows"), [
    ("", []),
    ("nothing of a kernel\n", []),
    ("| 2ms       | a\n| 500µs     | b\n| 1ms | a \n",
     ["| a | 2 | 1500.0 | 86 % |", "| b | 1 | 500.0 | 14 % |"]),
    ("[x] | 512ns | a<f32, bf16>\n| 1.5s | b\n", ["| b | 1 | 1500000.0 | 100 % |", "| a<f32, bf16> | 1 | 0.5 | 0 % |"]),
])
def test_time_by_kernel_is_summed_from_the_log_of_launches(log, rows):
    assert SCRIPT["by_kernel"](log)[2:] == rows


# ── How stages end ──

DEVICE = "probe,smoke,layers,groups,bf16,int8"
RUNS = [
    # The stages, what the program does, the exit status, and the stages' outcomes.
    (DEVICE, {}, 0, {name: "ok" for name in DEVICE.split(",")}),
    (DEVICE, {"check-device smoke": "wrong"}, 1, {"smoke": "WRONG", "layers": "ok", "groups": "ok", "int8": "ok"}),
    (DEVICE, {"check-device dense": "wrong"}, 1, {"smoke": "ok", "groups": "WRONG", "bf16": "ok"}),
    (DEVICE, {"check-device rows": "crash"}, 2, {"groups": "failed", "bf16": "ok", "int8": "ok"}),
    (DEVICE, {"check-device rows": "crash", "check-device dense": "wrong"}, 1, {"groups": "WRONG", "int8": "ok"}),
    (DEVICE, {"bench-device bf16": "crash"}, 2, {"bf16": "failed", "int8": "ok"}),
    (DEVICE, {"bench-device bf16": "crash", "check-device smoke": "wrong"}, 3, {"smoke": "WRONG", "bf16": "failed"}),
    # A crash after a right answer: others may still be had.
    (DEVICE, {"check-device smoke": "crash"}, 2, {"smoke": "failed", "layers": "ok", "int8": "ok"}),
    # No answer at all: nothing to stand on.
    (DEVICE, {"check-device smoke": "dead"}, 2, {"smoke": "failed", "layers": "not run", "groups": "not run",
                                                 "bf16": "not run", "int8": "not run"}),
    ("demo", {"serve cpu": "yes", "serve vulkan": "yes"}, 0, {"probe": "ok", "smoke": "ok", "demo": "ok"}),
    ("demo", {"serve cpu": "yes", "serve vulkan": "no"}, 1, {"demo": "WRONG"}),
    ("demo", {"serve cpu": "yes", "serve vulkan": "dead"}, 2, {"demo": "failed"}),
    ("serve", {"serve vulkan": "yes"}, 0, {"serve": "ok"}),
    ("serve", {"serve vulkan": "dead"}, 2, {"serve": "failed"}),
    ("tools", {}, 0, {"probe": "ok", "tools": "absent"}),
]


def bench(out, only, does, *options, env=None):
    variables = {**os.environ, "FAKE": json.dumps(does), **(env or {})}
    command = [sys.executable, str(BENCH / "gpu"), str(HERE / "fake_engine.py"), "--out", str(out), "--only", only,
               "--streams", "3", "--stream-seconds", "0", *(options or ("--device", "vulkan"))]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def outcomes(out):
    """Of each stage in the table."""
    rows = [line.split("|") for line in (out / "table.md").read_text().splitlines() if line.startswith("| ")]
    return {row[1].split(":")[0].strip(): row[2].strip() for row in rows if ":" in row[1]}


@pytest.mark.parametrize(("only", "does", "status", "want"), RUNS, ids=[f"{c[0][:5]}-{c[1]}" for c in RUNS])
def test_a_stage_that_fails_stops_only_those_that_stand_on_it(tmp_path, only, does, status, want):
    done = bench(tmp_path, only, does)
    assert done.returncode == status, done.stdout + done.stderr
    got = outcomes(tmp_path)
    assert {name: got[name] for name in want} == want
    ran = [name for name, state in got.items() if state != "not run"]
    files = {path.name[3:-4]: path.read_text() for path in tmp_path.glob("[0-9][0-9]-*.txt")}
    assert set(files) == set(got) and all(files[name] for name in ran)


@pytest.mark.parametrize(("does", "stage"), [
    ({"bench-device bf16": "hang"}, "bf16"),
    ({"check-device attention": "hang"}, "groups"),
])
def test_a_stage_that_hangs_is_ended_and_keeps_what_it_told(tmp_path, does, stage):
    done = bench(tmp_path, "groups,bf16,int8", does, "--device", "vulkan", "--slower", "0.02")
    assert done.returncode == 2, done.stdout + done.stderr
    got = outcomes(tmp_path)
    assert got[stage] == "timed out" and got["int8"] == "ok", got
    told = next(tmp_path.glob(f"*-{stage}.txt")).read_text()
    assert "| shape |" in told or "attention: ok add" in told, told


def test_without_a_driver_it_is_said_and_torch_does_not_stand_on_it(tmp_path):
    # A folder where libcuda.so.1 is no library comes before the machine's own.
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libcuda.so.1").write_text("no library")
    # Of the machine's programs only the tests' own Python.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys.executable)
    env = {"LD_LIBRARY_PATH": str(tmp_path / "lib"), "VIRTUAL_ENV": "", "PATH": str(tmp_path / "bin")}
    done = bench(tmp_path / "out", "torch,smoke", {}, "--device", "cuda", env=env)
    assert done.returncode == 4, done.stdout + done.stderr
    got = outcomes(tmp_path / "out")
    assert (got["probe"], got["smoke"]) == ("failed", "not run")
    # With torch in the tests' own Python it finds no GPU, else no torch: neither is a failure.
    assert got["torch"] == "absent"
    assert "no CUDA driver library" in (tmp_path / "out/table.md").read_text()


@pytest.mark.parametrize("options", [
    ["/nonexistent", "--out", "x"],
    [str(HERE), "--out", "x"],
    [str(HERE / "fake_engine.py")],
    [str(HERE / "fake_engine.py"), "--out", "x", "--only", "smoke,nothing"],
    [str(HERE / "fake_engine.py"), "--out", "x", "--device", "cpu"],
])
def test_a_wrong_option_is_usage_and_writes_nothing(tmp_path, options):
    done = subprocess.run([sys.executable, str(BENCH / "gpu"), *options], cwd=tmp_path, capture_output=True)
    assert done.returncode == 64, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_stages_fit_seven_minutes_and_the_smoke_test_half_of_one(tmp_path):
    stages = SCRIPT["STAGES"]
    assert sum(stage.limit_s for stage in stages) <= 7 * 60
    assert [stage.name for stage in stages[:2]] == ["probe", "smoke"]
    assert sum(stage.limit_s for stage in stages[:2]) <= 30
    before = set()
    for stage in stages:
        assert before.issuperset(stage.stands_on), stage
        before.add(stage.name)
