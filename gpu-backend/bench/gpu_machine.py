"""What a machine with an NVIDIA GPU has of CUDA, and which of it the engine is run with.

The engine needs the driver, NVRTC with its `libnvrtc-builtins` beside it, and CUDA's
headers. A toolkit has both of these, a Python environment may have either: so they are
looked for apart. Needs Python's standard library only.
"""

import ctypes
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

# Where a root keeps its libraries: a toolkit, a wheel, a Debian package.
LIBRARY_FOLDERS = ("lib64", "lib", "targets/x86_64-linux/lib", "lib/x86_64-linux-gnu")
# What kernels include. A wheel of the runtime alone has no `crt`.
HEADERS = ("cuda_runtime.h", "cuda_fp16.h", "crt/host_defines.h")
PROBE_S = 5

# GB/s and TFLOP/s of dense bf16 in NVIDIA's data sheets, by a part of the GPU's name.
DATASHEET = (
    ("H200", 4800, 989),
    ("H100 80GB HBM3", 3350, 989),
    ("A100-SXM4-80GB", 2039, 312),
    ("A100-SXM4-40GB", 1555, 312),
)


@dataclasses.dataclass(frozen=True)
class Compiler:
    """An NVRTC whose builtins lie beside it."""
    library: pathlib.Path
    builtins: pathlib.Path
    version: tuple


@dataclasses.dataclass(frozen=True)
class Headers:
    """The folder whose `include` has them."""
    root: pathlib.Path
    version: tuple


class Missing(Exception):
    """What the machine lacks, in words."""


def written(version):
    return ".".join(map(str, version)) if version else "unknown"


def answer(command):
    """What a program prints, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def torch_python():
    """A Python that has torch, and the folder of its packages; or None. Torch is not imported:
    that takes seconds."""
    ask = "import importlib.util as u; print(u.find_spec('torch').origin)"
    here = os.environ.get("VIRTUAL_ENV")
    names = [f"{here}/bin/python" if here else None, shutil.which("python3"), sys.executable]
    for python in dict.fromkeys(name for name in names if name):
        origin = answer([python, "-c", ask])
        if origin:
            return python, pathlib.Path(origin).parent.parent
    return None


def roots(environ, nvcc, packages, base="/"):
    """Folders that may be a toolkit, the first named first. `base` is the file system's root."""
    base = pathlib.Path(base)
    found = [environ.get("CUDA_PATH"), environ.get("CUDA_HOME")]
    local = base / "usr/local"
    # `cuda` before `cuda-13.0`: the one that was chosen on this machine.
    found += sorted(local.glob("cuda*"))
    if nvcc:
        found.append(pathlib.Path(nvcc).resolve().parent.parent)
    if packages:
        nvidia = pathlib.Path(packages) / "nvidia"
        # Of CUDA 13 one folder; before it, a folder for each package.
        found += [nvidia / "cu13", nvidia / "cuda_nvrtc", nvidia / "cuda_runtime"]
    found += [base / "opt/cuda", base / "usr"]
    folders = (pathlib.Path(root) for root in found if root)
    by_place = {}
    for folder in folders:
        if folder.is_dir():
            by_place.setdefault(folder.resolve(), folder)
    return list(by_place.values())


def compilers(root):
    """Each NVRTC in a root."""
    found = {}
    for folder in LIBRARY_FOLDERS:
        for builtins in sorted((root / folder).glob("libnvrtc-builtins.so.*")):
            named = re.fullmatch(r"libnvrtc-builtins\.so\.(\d+)\.(\d+)(\.\d+)*", builtins.name)
            if not named:
                continue
            version = (int(named[1]), int(named[2]))
            names = (f"libnvrtc.so.{version[0]}", f"libnvrtc.so.{version[0]}.{version[1]}", "libnvrtc.so")
            library = next((builtins.parent / n for n in names if (builtins.parent / n).exists()), None)
            if library:
                found.setdefault((library.resolve(), version), Compiler(library, builtins, version))
    return list(found.values())


def headers(root):
    """The headers of a root, or None where some are missing."""
    include = root / "include"
    if not all((include / name).exists() for name in HEADERS):
        return None
    for name, macro in (("cuda.h", "CUDA_VERSION"), ("cuda_runtime_api.h", "CUDART_VERSION")):
        try:
            text = (include / name).read_text(errors="replace")
        except OSError:
            continue
        defined = re.search(rf"#define\s+{macro}\s+(\d+)", text)
        if defined:
            return Headers(root, divmod_version(int(defined[1])))
    return Headers(root, ())


def divmod_version(number):
    """13010 is 13.1."""
    return (number // 1000, number % 1000 // 10)


def choose(found, driver):
    """The NVRTC and the headers that go best together, from roots in their order.

    A driver takes no PTX that is newer than itself, and headers use what their own compiler
    knows: so first a compiler that is no newer, then headers of its version, then the newest.
    """
    all_compilers = [c for root in found for c in compilers(root)]
    all_headers = [h for h in map(headers, found) if h]
    looked = ", ".join(map(str, found)) or "nowhere"
    if not all_compilers:
        raise Missing(f"no NVRTC (libnvrtc with its libnvrtc-builtins) in {looked}")
    if not all_headers:
        raise Missing(f"no CUDA headers (include with {', '.join(HEADERS)}) in {looked}")

    def worth(pair):
        compiler, header = pair
        taken = not driver or compiler.version <= driver
        newness = compiler.version if taken else tuple(-part for part in compiler.version)
        same = (compiler.version == header.version, compiler.version[:1] == header.version[:1])
        return (taken, *same, newness)

    # `max` keeps the first of equals.
    return max(((c, h) for c in all_compilers for h in all_headers), key=worth)


def driver_version():
    """The CUDA version of the driver's API."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise Missing(f"no CUDA driver library (libcuda.so.1): {error}") from error
    version = ctypes.c_int(0)
    code = library.cuDriverGetVersion(ctypes.byref(version))
    if code != 0:
        raise Missing(f"the CUDA driver does not tell its version: error {code}")
    return divmod_version(version.value)


def environment(compiler, header, folder, environ):
    """The variables by which the engine finds just these. Links in `folder` come first in the
    search, since `libnvrtc.so` without a number may be another version's, and NVRTC itself
    looks for its builtins there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in (("libnvrtc.so", compiler.library), (compiler.library.name, compiler.library),
                         (compiler.builtins.name, compiler.builtins)):
        if not (folder / name).exists():
            (folder / name).symlink_to(target.resolve())
    before = environ.get("LD_LIBRARY_PATH")
    path = [str(folder), str(compiler.library.parent)] + ([before] if before else [])
    return {"CUDA_PATH": str(header.root), "LD_LIBRARY_PATH": ":".join(path)}


def datasheet(name):
    """GB/s and TFLOP/s of a GPU by its name, or None."""
    return next(((gb, tf) for part, gb, tf in DATASHEET if part in (name or "")), None)
