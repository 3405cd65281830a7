"""Downloads, tried against a server on this machine: mirrors, checksums, offline reuse, hostile archives."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from strongticket.data import DataError, load
from strongticket.data import _official as official_module
from strongticket.data import download as download_module
from strongticket.data._official import OfficialFile, OfficialSet, RemoteFile
from strongticket.data.download import _download_set, download, fetch

pytest.importorskip("pooch", reason="pooch is not installed (extra 'data')")


@dataclass
class Server:
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    base: str = ""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            content = state.files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may hang up
                self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    state.base = f"http://127.0.0.1:{http.server_address[1]}/"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def checksum(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def remote(content: bytes, limit: int = 10_000) -> RemoteFile:
    return RemoteFile("file.gz", checksum(content), limit)


def test_404_then_mirror_then_offline(server: Server, tmp_path: Path, capfd):
    server.files["/good/file.gz"] = b"content"
    seen: list[tuple[str, int, int]] = []
    bases = [server.base + "absent/", server.base + "good/"]
    path = fetch(remote(b"content"), bases, tmp_path, timeout=5, progress=lambda *a: seen.append(a))
    assert path.read_bytes() == b"content"
    assert server.requests == ["/absent/file.gz", "/good/file.gz"]
    assert seen[-1] == ("file.gz", 7, 7)
    again = fetch(remote(b"content"), ["http://127.0.0.1:9/"], tmp_path, timeout=5)  # nobody listens there
    assert again == path
    assert len(server.requests) == 2
    assert capfd.readouterr() == ("", "")  # the library prints nothing by itself


def test_wrong_checksum_raises_and_leaves_nothing(server: Server, tmp_path: Path):
    server.files["/file.gz"] = b"tampered"
    with pytest.raises(DataError, match=r"could not download file.gz") as caught:
        fetch(remote(b"content"), [server.base], tmp_path, timeout=5)
    assert server.base in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_place_is_replaced(server: Server, tmp_path: Path):
    (tmp_path / "file.gz").write_bytes(b"damaged")
    server.files["/file.gz"] = b"content"
    assert fetch(remote(b"content"), [server.base], tmp_path, timeout=5).read_bytes() == b"content"


def test_endless_download_is_stopped(server: Server, tmp_path: Path):
    content = bytes(5_000_000)
    server.files["/file.gz"] = content
    with pytest.raises(DataError, match="more than 100,000 bytes"):
        fetch(remote(content, limit=100_000), [server.base], tmp_path, timeout=5)
    assert list(tmp_path.iterdir()) == []


def test_unreachable_server_and_unknown_name(tmp_path: Path):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9"):
        fetch(remote(b""), ["http://127.0.0.1:9/"], tmp_path, timeout=2)
    with pytest.raises(DataError, match="no address is known for 'imagenet'"):
        download("imagenet", tmp_path)
    with pytest.raises(ValueError, match="timeout"):
        fetch(remote(b""), [], tmp_path, timeout=0)


def test_load_downloads_what_is_missing(server: Server, tmp_path: Path, monkeypatch):
    arrays = [np.zeros((30, 28, 28)), np.arange(30) % 10, np.ones((10, 28, 28)), np.arange(10)]
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    contents = [
        struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape) + a.astype(np.uint8).tobytes() for a in arrays
    ]
    packed = [gzip.compress(content) for content in contents]
    files = tuple(OfficialFile(name, checksum(content)) for name, content in zip(names, contents, strict=True))
    remotes = tuple(RemoteFile(f"{name}.gz", checksum(gz), 10**6) for name, gz in zip(names, packed, strict=True))
    tiny = OfficialSet(
        "mnist", "mnist", "idx", 10, (1, 28, 28), files[:2], files[2:], remotes, (server.base,), validation=5
    )
    monkeypatch.setattr(download_module, "OFFICIAL", {"mnist": tiny})
    monkeypatch.setattr("strongticket.data._load.OFFICIAL", {"mnist": tiny})
    server.files |= {f"/{name}.gz": gz for name, gz in zip(names, packed, strict=True)}
    data = load("mnist", folder=tmp_path, download=True)
    assert data.note == ""
    assert len(data.test) == 10
    asked = len(server.requests)
    load("mnist", folder=tmp_path, download=True)
    assert asked == len(server.requests) == 4


def cifar_set(archive: bytes, content: bytes) -> OfficialSet:
    files = tuple(OfficialFile(name, checksum(content)) for name in ("train.bin", "test.bin"))
    archives = (RemoteFile("cifar.tar.gz", checksum(archive), 10**6),)
    return OfficialSet("cifar10", "bin", "cifar", 10, (3, 32, 32), files[:1], files[1:], archives, (), validation=1)


def tar_of(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.SYMTYPE
            info.linkname = target
            tar.addfile(info)
    return buffer.getvalue()


def test_archive_is_unpacked_checked_and_not_fetched_again(server: Server, tmp_path: Path):
    content = bytes(3073)
    archive = tar_of({"bin/train.bin": content, "bin/test.bin": content, "../escape": b"x", "bin/extra": b"x"})
    server.files["/cifar.tar.gz"] = archive
    tiny = cifar_set(archive, content)
    for _ in range(2):
        folder = _download_set(tiny, tmp_path / "data", mirrors=[server.base], timeout=5, progress=None)
    assert sorted(p.name for p in folder.iterdir()) == ["test.bin", "train.bin"]
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["bin"]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert server.requests == ["/cifar.tar.gz"]


@pytest.mark.parametrize(
    ("members", "links"),
    [
        ({"bin/train.bin": b"wrong", "bin/test.bin": bytes(3073)}, {}),
        ({"bin/train.bin": bytes(3073)}, {}),
        ({"bin/train.bin": bytes(3073)}, {"bin/test.bin": "/etc/passwd"}),
    ],
)
def test_hostile_or_incomplete_archives_leave_no_data(server: Server, tmp_path: Path, members, links):
    archive = tar_of(members, links)
    server.files["/cifar.tar.gz"] = archive
    with pytest.raises(DataError, match="bin/"):
        _download_set(cifar_set(archive, bytes(3073)), tmp_path, mirrors=[server.base], timeout=5, progress=None)
    assert [p.name for p in tmp_path.iterdir()] == ["cifar.tar.gz"]  # only the archive, whose checksum was right


def test_the_table_of_published_sets_is_consistent():
    for name, entry in official_module.OFFICIAL.items():
        assert entry.name == name
        sums = [file.md5 for file in (*entry.train, *entry.test, *entry.remote)]
        assert all(len(text) == 32 and set(text) <= set("0123456789abcdef") for text in sums)
        assert len(set(sums)) == len(sums)
        assert all(base.startswith("http") and base.endswith("/") for base in entry.mirrors)
