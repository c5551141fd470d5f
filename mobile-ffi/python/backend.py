"""Builds the Python package `endcap` for this machine; Python's own library is all that it needs.

    python3 backend.py                        the wheel, into target/python/wheel; prints its path
    python3 backend.py --install DIR          what the wheel holds, into DIR, to be put on PYTHONPATH
    pip install ./mobile-ffi/python         the same through pip: this file is the build backend too

The library and its bindings come from mobile-ffi/bindings.sh (which needs Rust), unless --bindings DIR, or
ENDCAP_BINDINGS for pip, names a folder that has them.
"""

import argparse
import base64
import hashlib
import os
import pathlib
import platform
import subprocess
import sys
import sysconfig
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
VERSION = "0.1.0"
INFO = f"endcap-{VERSION}.dist-info"
METADATA = f"""\
Metadata-Version: 2.4
Name: endcap
Version: {VERSION}
Summary: Endcap on a device: audit outlets offline, sync later
License-Expression: Apache-2.0
Requires-Python: >=3.9
"""


def wheel_tag():
    """One wheel for each platform: the library needs no particular Python."""
    system = sysconfig.get_platform()
    if sys.platform == "darwin":  # Python itself may be built for both kinds of Mac, the library is not
        system = f"macosx_11_0_{platform.machine()}"
    return "py3-none-" + system.replace("-", "_").replace(".", "_")


def contents(bindings):
    """Every file of the wheel by its name in it."""
    files = {}
    for source in sorted((HERE / "src" / "endcap").iterdir()):
        if source.is_file():
            files[f"endcap/{source.name}"] = source.read_bytes()
    names = ["endcap_mobile.py"]
    names += [name for name in ("libendcap.so", "libendcap.dylib", "endcap.dll") if (bindings / name).exists()]
    if len(names) != 2:
        raise SystemExit(f"{bindings} has not one library")
    for name in names:
        files[f"endcap/{name}"] = (bindings / name).read_bytes()
    files[f"{INFO}/METADATA"] = METADATA.encode()
    files[f"{INFO}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: endcap\nRoot-Is-Purelib: false\nTag: {wheel_tag()}\n".encode()
    )
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    files[f"{INFO}/RECORD"] = f"{record}{INFO}/RECORD,,\n".encode()
    return files


def generate(folder):
    """The bindings of a release build."""
    script = HERE.parent / "bindings.sh"
    subprocess.run([script, "python", "--release", "--out", folder], check=True, stdout=subprocess.DEVNULL)
    return pathlib.Path(folder) / "python"


def package(bindings):
    if bindings:
        return contents(pathlib.Path(bindings))
    with tempfile.TemporaryDirectory() as folder:
        return contents(generate(folder))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Called by pip (PEP 517)."""
    files = package(os.environ.get("ENDCAP_BINDINGS"))
    return write_wheel(files, pathlib.Path(wheel_directory)).name


def write_wheel(files, folder):
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"endcap-{VERSION}-{wheel_tag()}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            # A fixed date: the same contents make the same wheel.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return wheel


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bindings", help="a folder with endcap_mobile.py and the library")
    parser.add_argument("--install", help="put the package into this folder instead of making a wheel")
    args = parser.parse_args()
    files = package(args.bindings)
    if args.install:
        for name, data in files.items():
            path = pathlib.Path(args.install) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        print(args.install)
    else:
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parents[1] / "target")
        print(write_wheel(files, target / "python" / "wheel"))


if __name__ == "__main__":
    main()
