"""Publishing, verifying, replacing and recovering artifacts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from attacks import reseal

from mlmctl.artifact import open_artifact, publish, recover
from mlmctl.errors import ArtifactError
from mlmctl.json_files import read_lines
from mlmctl.manifest import MANIFEST, FileRecord, Header, canonical, read_manifest
from mlmctl.storage import HashCache, make_folder, sha256_file

HEADER = Header("tokenizer", {"vocab_size": 64}, {"corpus": "ab"})


def make(target: Path, content: bytes = b"hello", header: Header = HEADER, old: Path | None = None) -> None:
    with publish(target, header, old=old) as draft:
        (draft.path / "part").mkdir()
        (draft.path / "a.json").write_bytes(content)
        (draft.path / "part" / "b.npy").write_bytes(content * 2)
        draft.metrics["loss"] = 1.5


def test_what_was_published_is_read_back_and_verified(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer")
    manifest = open_artifact(tmp_path / "tokenizer")
    assert manifest.key == HEADER.key
    assert set(manifest.outputs) == {"a.json", "part/b.npy"}
    assert manifest.metrics == {"loss": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]


def test_key_depends_on_configuration_and_fingerprint_on_content(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", b"other")
    make(tmp_path / "c", header=Header("tokenizer", {"vocab_size": 65}, {"corpus": "ab"}))
    a, b, c = (read_manifest(tmp_path / name) for name in "abc")
    assert a.key == b.key != c.key
    assert len({a.fingerprint, b.fingerprint, c.fingerprint}) == 3


def test_a_failed_body_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer")
    before = (tmp_path / "tokenizer" / MANIFEST).read_bytes()
    with (
        pytest.raises(RuntimeError),
        publish(tmp_path / "tokenizer", HEADER, old=tmp_path / ".old" / "tokenizer") as draft,
    ):
        (draft.path / "half").write_text("x")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    assert (tmp_path / "tokenizer" / MANIFEST).read_bytes() == before


def test_an_artifact_is_replaced_only_where_that_was_asked_for(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer")
    with pytest.raises(ArtifactError, match="never overwritten"):
        make(tmp_path / "tokenizer", b"new")
    make(tmp_path / "tokenizer", b"new", old=tmp_path / ".old" / "tokenizer")
    assert (tmp_path / "tokenizer" / "a.json").read_bytes() == b"new"
    assert not (tmp_path / ".old" / "tokenizer").exists()


@pytest.mark.parametrize("name", ["a.json", "part/b.npy", MANIFEST])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_fault_20_a_flipped_bit_is_refused_with_the_file_named(tmp_path: Path, name: str, place: str) -> None:
    make(tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / name
    content = bytearray(path.read_bytes())
    index = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[place]
    content[index] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(tmp_path / "tokenizer")
    assert caught.value.exit_code == 5
    assert name in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, -1])
@pytest.mark.parametrize("name", ["a.json", MANIFEST])
def test_fault_20_a_truncated_file_is_refused(tmp_path: Path, name: str, length: int) -> None:
    make(tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=name):
        open_artifact(tmp_path / "tokenizer")


def test_fault_20_a_missing_file_and_a_swap_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "one")
    (tmp_path / "one" / "a.json").unlink()
    with pytest.raises(ArtifactError, match="recorded but missing"):
        open_artifact(tmp_path / "one")
    with publish(tmp_path / "two", HEADER) as draft:
        (draft.path / "x").write_bytes(b"1234")
        (draft.path / "y").write_bytes(b"5678")
    os.rename(tmp_path / "two" / "x", tmp_path / "z")
    os.rename(tmp_path / "two" / "y", tmp_path / "two" / "x")
    os.rename(tmp_path / "z", tmp_path / "two" / "y")
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_artifact(tmp_path / "two")


def test_fault_18_links_are_refused_for_reading_and_writing(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "tokenizer" / "a.json").rename(elsewhere)
    (tmp_path / "tokenizer" / "a.json").symlink_to(elsewhere)
    with pytest.raises(ArtifactError, match="not a regular file"):
        open_artifact(tmp_path / "tokenizer")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="symbolic link"):
        make(tmp_path / "link")


def test_fault_48_a_manifest_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer")
    os.truncate(tmp_path / "tokenizer" / MANIFEST, 2**36)  # a hole
    with pytest.raises(ArtifactError, match="more than 268,435,456 bytes"):
        read_manifest(tmp_path / "tokenizer")


def test_fault_24_a_newer_schema_is_named(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / MANIFEST
    content = json.loads(path.read_text()) | {"schema_version": 99}
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="schema 99"):
        read_manifest(tmp_path / "tokenizer")


@pytest.mark.parametrize("name", ["../a.json", "/etc/hostname", "part/../../a.json", "link/a.json", ""])
def test_fault_50_a_manifest_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path / "tokenizer")
    (tmp_path / "a.json").write_bytes(b"hello")
    (tmp_path / "tokenizer/link").symlink_to(tmp_path)
    manifest = read_manifest(tmp_path / "tokenizer")
    outputs = {name: FileRecord(5, sha256_file(tmp_path / "a.json"))}
    reseal(tmp_path / "tokenizer", outputs=outputs)
    assert read_manifest(tmp_path / "tokenizer").key == manifest.key  # it is sound in itself
    with pytest.raises(ArtifactError, match=r"outside|regular file"):
        open_artifact(tmp_path / "tokenizer")


def test_recover_undoes_a_swap_that_was_cut_short(tmp_path: Path) -> None:
    make(tmp_path / "mask" / "blocks")
    (tmp_path / ".old" / "mask").mkdir(parents=True)
    (tmp_path / "mask" / "blocks").rename(tmp_path / ".old" / "mask" / "blocks")
    (tmp_path / "mask" / ".tmp-blocks-0123abcd").mkdir()
    done = recover(tmp_path)
    assert len(done) == 2
    open_artifact(tmp_path / "mask" / "blocks")
    assert not (tmp_path / ".old").exists()
    assert not (tmp_path / "mask" / ".tmp-blocks-0123abcd").exists()


def test_fault_18_recover_removes_nothing_that_others_have_put_there(tmp_path: Path) -> None:
    kept = [
        ".tmp-notes", ".tmp-tokenizer-1234", ".tmp-backup-20240101/x", "mask/.tmp-mine-20240101/x",
        "other/.tmp-tokenizer-0123abcd/x", "other/.work/pretrain-1/.tmp-0123456789abcdef", ".old/mine",
    ]  # fmt: skip
    left = [
        ".tmp-0123456789abcdef", ".tmp-tokenizer-0123abcd/x", "finetune/.tmp-mine-0123abcd/x",
        ".work/pretrain-1/checkpoints/.tmp-step-1-0123abcd/x", ".work/mask-1/parts/.tmp-0123456789abcdef",
        ".spool/.tmp-stdin-0123abcd", ".old/mask/blocks/x",
    ]  # fmt: skip
    for name in kept + left:
        make_folder((tmp_path / name).parent)
        (tmp_path / name).write_text("1")
    (tmp_path / "evaluate").symlink_to(tmp_path / "other")
    (tmp_path / "other/squad/.tmp-mine-0123abcd").mkdir(parents=True)
    recover(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
    assert (tmp_path / "other/squad/.tmp-mine-0123abcd").is_dir()


def test_recover_drops_the_old_one_once_the_new_stands(tmp_path: Path) -> None:
    make(tmp_path / "tokenizer", b"new")
    make(tmp_path / ".old" / "tokenizer", b"old")
    (tmp_path / "mine.txt").write_text("a foreign file")
    recover(tmp_path)
    assert (tmp_path / "tokenizer" / "a.json").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "tokenizer"]


def test_hash_cache_sees_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlmctl.storage._CACHE_FROM_BYTES", 0)
    path = tmp_path / "large"
    path.write_bytes(b"one")
    first = HashCache(tmp_path / "cache").sha256(path)
    reads: list[Path] = []
    monkeypatch.setattr("mlmctl.storage.sha256_file", lambda p: reads.append(p) or "new")
    assert HashCache(tmp_path / "cache").sha256(path) == first
    assert not reads
    path.write_bytes(b"three")
    assert HashCache(tmp_path / "cache").sha256(path) == "new"


def test_canonical_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError):
        canonical({"loss": float("nan")})


def test_records_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": 1}\n{"a": "\u2028"}\n{"a": 3}\n{"a"'.encode())  # the last is being written
    assert [row["a"] for row in read_lines(path, is_growing=True)] == [1, "\u2028", 3]
    assert [row["a"] for row in read_lines(path, 2)] == [1, "\u2028"]
    for content, found in (
        (b'{"a": 1}\n{"a"', "cannot be"),
        (b"{\n", "cannot be"),
        (b"\xff\n", "cannot be"),
        (b"1\n", "no JSON object"),
    ):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=found):
            read_lines(path)
    with pytest.raises(ArtifactError, match="does not exist"):
        read_lines(tmp_path / "nowhere")
