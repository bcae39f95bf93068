"""Downloads from a server of our own that breaks off, lies, refuses and resumes as real ones do."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pellucid.core.errors import DataError
from pellucid.core.system import process_is_alive
from pellucid.data import download as downloading
from pellucid.data.download import PublishedFile, download

CONTENT = bytes(range(256)) * 4000  # 1 MB: several blocks


@dataclass
class Server:
    """What the server gives and how; `asked` collects the ranges that were asked for."""

    content: bytes = CONTENT
    status: int = 200
    ranges: bool = True  # whether it knows range requests
    stops: list[int] = field(default_factory=list)  # after so many bytes of its answer the connection breaks, one number per answer
    asked: list[str | None] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloading, "_PAUSE_SECONDS", 0.0)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(re.sub(r"\D", "", wanted)) if wanted and state.ranges else 0
            if start >= len(state.content) > 0 and start:
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.stops.pop(0)] if state.stops else body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{service.server_port}/set.bin"
    yield state
    service.shutdown()
    service.server_close()
    thread.join()


def published(server: Server, content: bytes = CONTENT, **changes: Any) -> PublishedFile:
    return replace(PublishedFile("set.bin", len(content), hashlib.sha256(content).hexdigest(), (server.address,)), **changes)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_what_is_published_arrives_whole_and_only_once(server, tmp_path, kind):
    file = published(server, checksum=hashlib.new(kind, CONTENT).hexdigest())
    told = []
    path = download(file, tmp_path / "数据 集" / "inner", told.append)
    assert path == tmp_path / "数据 集" / "inner" / "set.bin"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["set.bin"]
    assert str(told[0]).startswith("downloading set.bin: ")
    assert download(file, path.parent) == path
    assert server.asked == [None]  # the second time it was there


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.stops = [300_000, 200_000]
    assert download(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.stops, server.ranges = [300_000], False
    assert download(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_an_interrupted_download_is_gone_on_with_by_the_next_process(server, tmp_path):
    gone = next(number for number in range(300_000, 400_000) if not process_is_alive(number))
    (tmp_path / f".set.bin.{gone}.part").write_bytes(CONTENT[:400_000])
    assert download(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=400000-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.bin"]


def test_ctrl_c_leaves_what_has_come(server, tmp_path, monkeypatch):
    def interrupt(sentence: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(published(server), tmp_path, interrupt)
    assert not (tmp_path / "set.bin").exists()
    (part,) = tmp_path.iterdir()
    come = part.stat().st_size
    assert 0 < come < len(CONTENT)
    assert download(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={come}-"


def test_a_part_of_another_file_is_found_out_and_the_next_attempt_is_clean(server, tmp_path):
    (tmp_path / f".set.bin.{os.getpid()}.part").write_bytes(b"x" * 400_000)
    with pytest.raises(DataError, match="does not have the published checksum"):
        download(published(server), tmp_path)
    assert not list(tmp_path.iterdir())
    assert download(published(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 503}, "HTTP 503"),
        ({"content": CONTENT[::-1]}, "does not have the published checksum"),
        ({"content": CONTENT[:-5]}, "only 1023995 of 1024000 bytes came|416"),
        ({"content": CONTENT + b"more"}, "more than 1024000 bytes"),
        ({"content": b""}, "only 0 of 1024000 bytes came"),
    ],
)
def test_what_is_not_the_published_file_never_gets_its_name(server, tmp_path, changes, words):
    for name, value in changes.items():
        setattr(server, name, value)
    with pytest.raises(DataError) as raised:
        download(published(server), tmp_path)
    assert re.search(words, str(raised.value))
    assert f"put the file set.bin into {tmp_path}" in str(raised.value)
    assert not (tmp_path / "set.bin").exists()


def test_the_next_address_is_asked_where_one_fails(server, tmp_path):
    addresses = ("http://127.0.0.1:9/set.bin", "http://nowhere.invalid/set.bin", server.address)
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9: .*nowhere\.invalid: "):
        download(published(server, addresses=addresses[:2]), tmp_path)
    assert download(published(server, addresses=addresses), tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_of_that_name_is_replaced(server, tmp_path):
    (tmp_path / "set.bin").write_bytes(CONTENT[:-1] + b"?")
    assert download(published(server), tmp_path).read_bytes() == CONTENT
