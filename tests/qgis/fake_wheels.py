"""Real wheels of a geofootprint that only tells its version, and indexes that offer them, for real pips."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MAIN = """\
import json, sys
if "info" in sys.argv:
    print(json.dumps({{"geofootprint": {version!r}, "protocol": {protocol}, "python": sys.version.split()[0],
                       "model": {{"name": "fake-model"}}}}))
"""


def make_wheel(folder, name, version, files=(), requires=()):
    """Write a wheel of pure Python with the given files and return its path."""
    info = f"{name}-{version}.dist-info"
    content = dict(files)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    content[f"{info}/METADATA"] = "\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires), ""])
    content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_inside, text in content.items():
            archive.writestr(name_inside, text)
    return path


def _digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def make_engine_wheels(folder, version, protocol=1):
    """Write the wheel of a geofootprint and of the one thing that it needs."""
    main = MAIN.format(version=version, protocol=protocol)
    files = {
        "geofootprint/__init__.py": "",
        "geofootprint_cli/__init__.py": "",
        "geofootprint_cli/__main__.py": main,
    }
    helper = make_wheel(folder, "helperofgeofootprint", "1.0", {"helperofgeofootprint.py": ""})
    return [make_wheel(folder, "geofootprint", version, files, ["helperofgeofootprint"]), helper]


def make_index(folder, wheels):
    """Lay wheels out as a package index (PEP 503) and return its folder."""
    for wheel in wheels:
        page = folder / wheel.name.split("-")[0] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        content = wheel.read_bytes()
        (page.parent / wheel.name).write_bytes(content)
        with page.open("a") as file:
            file.write(f'<a href="{wheel.name}#sha256={hashlib.sha256(content).hexdigest()}">{wheel.name}</a>\n')
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class Proxy(_Quiet):
    """Answers for every host from the folder, as a proxy that has everything at hand."""

    def translate_path(self, path):
        return super().translate_path(urlsplit(path).path)


class _Stalling(_Quiet):
    """Gives the pages, and of a wheel the beginning alone."""

    stalled: threading.Event
    ended: threading.Event

    def do_GET(self):
        if not self.path.endswith(".whl"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"PK")
        self.stalled.set()
        self.ended.wait(30)


@contextmanager
def serving(folder, handler=_Quiet):
    """Serve an index on this computer and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def stalling(folder):
    """Serve an index whose wheels never arrive; give its address and the event that one has been asked for."""
    stalled, ended = threading.Event(), threading.Event()
    handler = type("Stalling", (_Stalling,), {"stalled": stalled, "ended": ended})
    with serving(folder, handler) as address:
        try:
            yield address, stalled
        finally:
            ended.set()


def make_bundle(path, wheels, version, python, platform, **changes):
    """Write a bundle as `scripts/make_bundle.py` does, with changes to its manifest."""
    listed = [
        {"file": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(), "size": wheel.stat().st_size}
        for wheel in wheels
    ]
    manifest = {"format": 1, "version": version, "python": python, "platform": platform, "wheels": listed, **changes}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for wheel in wheels:
            archive.write(wheel, f"wheels/{wheel.name}")
    return path
