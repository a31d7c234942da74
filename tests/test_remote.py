"""Remote input: asked for by a scheme alone, read once, told in one line when it cannot be."""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from commands import SMALL, Shell, write_corpus
from packed import COMPRESS

from mlmctl.artifact import publish
from mlmctl.commands import verify
from mlmctl.config import CorpusConfig
from mlmctl.errors import MlmctlError, ResourceError, UsageError
from mlmctl.events import Event, silent
from mlmctl.manifest import Header
from mlmctl.pipeline import inputs
from mlmctl.storage import HashCache
from mlmctl.text import remote
from mlmctl.text.corpus import Source, resolve, unread
from mlmctl.text.documents import Documents
from mlmctl.text.spool import Kept, Spool


@pytest.fixture
def store() -> Iterator[Any]:
    """A store in memory: `memory://...`."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory
    memory.store.clear()


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def read(name: str, spool: Path) -> list[Source]:
    return resolve([name], spool, silent)


def refused(name: str, spool: Path) -> MlmctlError:
    with pytest.raises(MlmctlError) as caught:
        read(name, spool)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_remote_file_is_the_local_one(store: Any, tmp_path: Path) -> None:
    text = b"one\ntwo\n"
    store.pipe("/corpus/a.TXT.gz", COMPRESS["gz"](text))
    [source] = read("memory://corpus/a.TXT.gz", tmp_path / "spool")
    assert (source.name, source.format, source.compression) == ("memory://corpus/a.TXT.gz", "text", "gz")
    assert list(Documents([source], CorpusConfig(), silent, "x")) == ["one", "two"]
    (tmp_path / "b.txt.gz").write_bytes(COMPRESS["gz"](text))
    store.pipe("/corpus/other.txt.gz", (tmp_path / "b.txt.gz").read_bytes())
    [other], [local] = (
        read("memory://corpus/other.txt.gz", tmp_path / "spool"),
        read(str(tmp_path / "b.txt.gz"), tmp_path / "spool"),
    )
    assert inputs.fingerprint([other], HashCache(None).sha256) == inputs.fingerprint(
        [local], HashCache(None).sha256
    )


def test_folders_and_globs_are_read_as_local_ones_are(store: Any, tmp_path: Path) -> None:
    for name in ("b.txt", "a.jsonl", "deep/c.txt", "deep/notes.pdf", ".hidden.txt", "B.TXT", ".git/x.txt"):
        store.pipe(f"/corpus/{name}", name.encode())
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for pattern in ("", "/*", "/*.txt", "/**/*.txt", "/deep"):
        told: list[Event] = []
        far = resolve([f"memory://corpus{pattern}"], tmp_path / "spool", told.append)
        near = resolve([f"{tmp_path}/corpus{pattern}"], tmp_path / "spool", silent)
        assert [source.path.read_text() for source in far] == [source.path.read_text() for source in near]
    assert "1 others" in str(told)


def test_what_was_read_is_not_asked_for_again(store: Any, tmp_path: Path) -> None:
    for name in "abc":
        store.pipe(f"/corpus/{name}.txt", name.encode())
    first = read("memory://corpus", tmp_path / "spool")
    store.store.clear()  # the network is down
    assert read("memory://corpus", tmp_path / "spool") == first
    assert read("memory:///corpus/b.txt", tmp_path / "spool")[0].path == first[1].path
    first[1].path.unlink()
    assert refused("memory://corpus", tmp_path / "spool").exit_code == 2


def test_refresh_reads_again_what_was_read_before(store: Any, shell: Shell, tmp_path: Path) -> None:
    def stage(*flags: str) -> dict[str, Any]:
        [found] = shell("tokenizer", "memory://a.txt", "--vocab-size", "64", "--json", *flags).json["stages"]
        return dict(found)

    store.pipe("/a.txt", write_corpus(tmp_path / "a.txt").read_bytes())
    first = stage()
    store.pipe("/a.txt", write_corpus(tmp_path / "a.txt", 100).read_bytes())
    assert stage() == {**first, "status": "fresh", "seconds": stage()["seconds"]}
    anew = stage("--refresh")
    assert anew["status"] == "ran"
    assert anew["fingerprint"] != first["fingerprint"]
    assert stage()["status"] == "fresh"
    planned = shell("tokenizer", "memory://a.txt", "--json", "--dry-run", "--refresh").json
    assert "reads nothing" in planned["warnings"][0]


def test_what_is_forgotten_is_the_names_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.add([b"[]"], "remote", ".json")  # labelled data may be JSON too
    spool.remember("far", [Kept("far", path)])
    with spool.forgotten():
        assert spool.recall("far") is None
    assert spool.recall("far") == [Kept("far", path)]  # it was not read anew
    other = spool.add([b"[1]"], "remote", ".json")
    with spool.forgotten():
        spool.remember("far", [Kept("far", other)])
    assert spool.recall("far") == [Kept("far", other)]
    assert path.read_bytes() == b"[]"


def test_a_listing_that_was_interrupted_goes_on(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        store.pipe(f"/corpus/{name}.txt", name.encode())
    opened, open_ = [], type(store).open

    def failing(self: Any, path: str, *arguments: Any, **named: Any) -> Any:
        opened.append(path[-5:])
        if len(opened) == 2:
            raise OSError("connection reset\nby peer")
        return open_(self, path, *arguments, **named)

    monkeypatch.setattr(type(store), "open", failing)
    error = refused("memory://corpus", tmp_path / "spool")
    assert (error.code, error.exit_code) == ("resource.network", 6)
    assert "OSError: connection reset by peer" in error.message
    assert len(read("memory://corpus", tmp_path / "spool")) == 3
    assert opened == ["a.txt", "b.txt", "b.txt", "c.txt"]
    assert not list((tmp_path / "spool").glob(".tmp-*"))


def test_a_short_read_is_refused(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe("/a.txt", b"text")
    info = type(store).info
    monkeypatch.setattr(type(store), "info", lambda *a, **named: {**info(*a, **named), "size": 9})
    error = refused("memory://a.txt", tmp_path / "spool")
    assert isinstance(error, ResourceError)
    assert "ended after 4 of 9 bytes" in error.message


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("owner/name", "hf://datasets/owner/name"),
        ("htps://host/a.txt", "Protocol not known: htps"),
        ("https:/host/a.txt", "begin with a scheme and ://"),
        ("s3:bucket/a.txt", "begin with a scheme and ://"),
        ("file:///tmp/a.txt", "without file://"),
        ("zip://a.txt::https://host/a.zip", "in an archive or a chain"),
        ("tar://a.txt", "in an archive"),
        ("https://host/a.zip", "is an archive"),
        ("https://host/a.html", "the suffix .html"),
        ("https://host/", "no suffix"),
        ("hf://datasets/name", "hf://datasets/OWNER/NAME[/CONFIG]"),
        ("hf://datasets/owner/name?part=train", "hf://datasets/OWNER/NAME[/CONFIG]"),
        ("hf://datasets/../name", "hf://datasets/OWNER/NAME[/CONFIG]"),
    ],
)
def test_fault_55_typing_errors_touch_no_network(name: str, said: str, tmp_path: Path) -> None:
    error = refused(name, tmp_path / "spool")
    assert error.exit_code in (2, 4)
    assert said in str(error)


def test_what_does_not_exist_or_may_not_be_read(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    assert refused("memory://gone.txt", spool).exit_code == 2
    assert refused("memory://*.txt", spool).code == "usage.no-match"
    store.pipe("/corpus/a.pdf", b"")
    assert refused("memory://corpus", spool).code == "data.no-text"

    def deny(*arguments: object, **named: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(type(store), "info", deny)
    error = refused("memory://a.txt", spool)
    assert (error.code, error.exit_code) == ("resource.permission", 6)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "Install s3fs" in refused("s3://bucket/a.txt", tmp_path).message
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert "mlmctl[remote]" in str(refused("https://host/a.txt", tmp_path))


def test_secrets_in_names_are_not_written(store: Any, tmp_path: Path) -> None:
    assert remote.public("https://me:word@host/a.txt?sig=key") == "https://host/a.txt"
    assert remote.public("s3://bucket/a?.txt") == "s3://bucket/a?.txt"
    assert "word" not in str(refused("https://me:word@host/a.zip?sig=word", tmp_path))
    store.pipe("/a.txt", b"text")
    read("memory://a.txt", tmp_path / "spool")
    [record] = (tmp_path / "spool").glob("*.json")
    assert json.loads(record.read_text())["files"][0][0] == "memory://a.txt"


def test_fault_50_a_record_cannot_lead_out_of_the_spool(store: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    store.pipe("/a.txt", b"text")
    read("memory://a.txt", tmp_path / "spool")
    [record] = (tmp_path / "spool").glob("*.json")
    record.write_text(json.dumps({"files": [["x", "../secret.txt"]]}))
    [source] = read("memory://a.txt", tmp_path / "spool")
    assert source.path.read_text() == "text"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = {"/a.txt": 200, "/denied.txt": 403}.get(self.path.partition("?")[0], 404)
        content = b"one\ntwo\n" if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_web(web: str, tmp_path: Path) -> None:
    [source] = read(f"{web}/a.txt?sig=key", tmp_path / "spool")
    assert source.name == f"{web}/a.txt"
    assert source.path.read_bytes() == b"one\ntwo\n"
    assert isinstance(refused(f"{web}/gone.txt", tmp_path / "spool"), UsageError)
    assert refused(f"{web}/denied.txt", tmp_path / "spool").code == "resource.permission"


def test_a_web_that_is_down(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = refused(f"http://127.0.0.1:{port}/a.txt", tmp_path / "spool")
    assert (error.code, error.exit_code) == ("resource.network", 6)


def test_a_run_from_a_store_is_planned_made_and_made_again_offline(
    store: Any, shell: Shell, tmp_path: Path
) -> None:
    store.pipe("/corpus.txt", write_corpus(tmp_path / "corpus.txt").read_bytes())
    run = tmp_path / "run"
    arguments = ("mask", *SMALL[2:6], "--run", run, "--json")
    plan = shell(*arguments, "memory://corpus.txt", "--dry-run").json["stages"]
    assert plan[0]["reason"] == "after memory://corpus.txt has been read"
    assert plan[1]["reason"] == "after tokenizer, memory://corpus.txt has been read"
    assert not run.exists()
    far = shell(*arguments, "memory://corpus.txt").json["stages"]
    assert [stage["status"] for stage in far] == ["ran"] * 3
    store.store.clear()
    for corpus in (["memory://corpus.txt"], []):
        again = shell(*arguments, *corpus).json["stages"]
        assert [stage["status"] for stage in again] == ["fresh"] * 3
        plan = shell(*arguments, *corpus, "--dry-run").json["stages"]
        assert [stage["action"] for stage in plan] == ["fresh"] * 3
    near = shell(*arguments[:-3], "--run", tmp_path / "near", "--json", tmp_path / "corpus.txt").json[
        "stages"
    ]
    assert [stage["fingerprint"] for stage in near] == [stage["fingerprint"] for stage in far]


def test_doctor_reads_a_store_and_keeps_nothing(store: Any, shell: Shell, tmp_path: Path) -> None:
    store.pipe("/corpus.txt", b"one two\n\nthree\n")
    run = tmp_path / "run"
    facts = shell("doctor", "memory://corpus.txt", "--run", run, "--json").json
    assert facts["corpus"]["num_documents"] == 2
    assert not run.exists()
    read("memory://corpus.txt", run / ".spool")
    store.store.clear()
    again = shell("doctor", "memory://corpus.txt", "--run", run, "--json").json
    assert again["corpus"] == facts["corpus"]


def test_what_is_new_goes_to_the_scratch_folder_and_what_was_read_stays(store: Any, tmp_path: Path) -> None:
    store.pipe("/old.txt", b"one\n")
    store.pipe("/new.txt", b"two\n")
    spool, scratch = tmp_path / "spool", tmp_path / "scratch"
    read("memory://old.txt", spool)
    store.rm("/old.txt")  # asking for it again would fail
    kept = sorted(spool.iterdir())
    found = resolve(["memory://old.txt", "memory://new.txt"], spool, silent, scratch=scratch)
    assert [source.path.parent for source in found] == [spool, scratch]
    assert sorted(spool.iterdir()) == kept


def test_what_is_in_the_spool_moves_with_the_run_folder_and_is_verified(
    store: Any, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.pipe("/corpus.txt", write_corpus(tmp_path / "corpus.txt").read_bytes())
    assert shell("mask", "memory://corpus.txt", *SMALL[2:6], "--run", "a").code == 0
    Path("a").rename("b")
    store.store.clear()
    assert shell("mask", "--block-length", "16", "--run", "b").code == 0
    assert shell("verify", "--run", "b").code == 0

    store.pipe("/t.jsonl", b'{"text": "a", "label": 1}\n')
    data = inputs.labelled(Path("b"), "finetune", "sentiment", "memory://t.jsonl", HashCache(None), silent)
    with publish(Path("b/finetune/x"), Header("finetune/x", {}, {"data": data.fingerprint})) as draft:
        (draft.path / "x").write_text("x")
        draft.details.update(data.origin)

    def state() -> str:
        [found] = [each.state for each in verify.run(Path("b")) if each.name == "finetune/x < data"]
        return found

    assert state() == "ok"
    data.path.write_bytes(b"{}")
    assert state() == "changed"
    data.path.unlink()
    assert state() == "absent"


def test_standard_input_is_planned(shell: Shell, tmp_path: Path) -> None:
    planned = shell("tokenizer", "-", "--dry-run", "--run", tmp_path / "run", "--json").json["stages"]
    assert planned == [{"name": "tokenizer", "action": "run", "reason": "after standard input has been read"}]
    assert unread(["-", "a.txt", "memory://a"], tmp_path) == ["-", "memory://a"]


def test_labelled_data_from_a_store(store: Any, tmp_path: Path) -> None:
    store.pipe("/sets/Test 1.v2.jsonl", b'{"text": "a", "label": 1}\n')
    run, cache = tmp_path / "run", HashCache(None)
    name = "memory://sets/Test 1.v2.jsonl"
    planned = inputs.labelled(run, "evaluate", "sentiment", name, cache, silent, may_read=False)
    assert (planned.unread, planned.fingerprint) == ([name], "")
    data = inputs.labelled(run, "evaluate", "sentiment", name, cache, silent)
    assert (data.stem, data.path.suffix) == ("Test-1", ".jsonl")
    local = tmp_path / "x.jsonl"
    local.write_bytes(b'{"text": "a", "label": 1}\n')
    assert data.fingerprint == inputs.labelled(run, "evaluate", "x", str(local), cache, silent).fingerprint
    store.pipe("/sets/b.jsonl", b"")
    with pytest.raises(UsageError, match="is 2 files"):
        inputs.labelled(run, "evaluate", "sentiment", "memory://sets", cache, silent)
