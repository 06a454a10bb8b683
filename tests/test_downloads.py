"""Weights from a URL, from a server on this machine."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from posefix_track.cli import main
from posefix_track.downloads import fetch_weights, with_hash
from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import load_weights, save_weights

CONFIG = NetworkConfig(input_size=(64, 32), head_channels=(8, 8, 8))


class _Server(ThreadingHTTPServer):
    """Serves ``content`` under every path but /missing, and counts how often; /short breaks off."""

    content = b""
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: 1000 if self.path == "/short" else None])

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", PoseFix(CONFIG), {"steps": 7})
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.content = (tmp_path / "w.safetensors").read_bytes()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def address(server: _Server, path: str = "w.safetensors", sha256: str | None = None) -> str:
    digest = hashlib.sha256(server.content).hexdigest() if sha256 is None else sha256
    return f"http://127.0.0.1:{server.server_port}/{path}" + (f"#sha256={digest}" if digest else "")


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_weights_are_fetched_once_and_load(server: _Server, tmp_path: Path) -> None:
    loaded = load_weights(address(server))
    assert loaded.info == {"steps": 7} and loaded.network.config == CONFIG
    assert load_weights(address(server)).sha256 == loaded.sha256
    assert server.requests == 1
    assert [path.name for path in cached(tmp_path)] == [f"{loaded.sha256}.safetensors"]


@pytest.mark.parametrize("sha256", ["", "12", "z" * 64])
def test_a_url_without_a_hash_is_refused(server: _Server, sha256: str) -> None:
    with pytest.raises(UsageError, match=r"need their hash: --weights-sha256 HEX, or URL#sha256=HEX"):
        fetch_weights(address(server, sha256=sha256))
    assert server.requests == 0


def test_content_with_another_hash_is_not_kept(server: _Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(InputError, match=rf"has SHA-256 {digest}, expected {'0' * 64}; nothing was kept"):
        fetch_weights(address(server, sha256="0" * 64))
    assert not cached(tmp_path)


@pytest.mark.parametrize("path", ["missing", "short"])
def test_what_cannot_be_fetched_is_named_and_leaves_nothing(server: _Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match=rf"/{path}: (cannot be fetched|has SHA-256)"):
        fetch_weights(address(server, path))
    assert not cached(tmp_path)


def test_a_damaged_cache_is_fetched_anew(server: _Server) -> None:
    path = fetch_weights(address(server))
    path.write_bytes(b"damaged")
    assert fetch_weights(address(server)).read_bytes() == server.content
    assert server.requests == 2


def test_a_cache_that_cannot_be_written_is_named(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ResourceError, match=r"safetensors: cannot be written"):
        fetch_weights(address(server))


def test_hashes_go_with_urls() -> None:
    assert with_hash("lite", None) == "lite"
    assert with_hash("https://a.org/w#x", "12") == "https://a.org/w#sha256=12"
    with pytest.raises(UsageError, match=r"--weights-sha256 goes with a URL, and 'lite' is none"):
        with_hash("lite", "12")


def test_the_command_line_passes_the_hash(
    server: _Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["posefix-track"])
    url = address(server, sha256="")
    assert main(["--demo", "one", "--weights", url]) == UsageError.exit_code
    assert main(["--demo", "two", "--weights", url, "--weights-sha256", "0" * 64]) == InputError.exit_code
    assert f"expected {'0' * 64}" in capsys.readouterr().err
