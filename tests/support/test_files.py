import errno
import json
import os
import pathlib
import shutil
import threading
import time
import zipfile

import numpy as np
import pytest

from tfvae.support import files


def test_json_and_arrays_come_back(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1, None]})
    assert files.read_json(tmp_path / "a.json") == {"b": [1, None]}
    arrays = {"x": np.arange(3.0), "nested/name:0": np.ones((2, 2), np.int64)}
    files.write_arrays(tmp_path / "a.npz", arrays)
    read = files.read_arrays(tmp_path / "a.npz")
    assert read.keys() == arrays.keys()
    for name in arrays:
        np.testing.assert_array_equal(read[name], arrays[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.npz"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, stop, seen, broken = tmp_path / "a.json", threading.Event(), set(), []
    files.write_json(path, ["x"] * 2000)

    def read():
        while not stop.is_set():
            try:
                seen.add(len(json.loads(path.read_text())))
            except ValueError as error:  # pytest only warns of an exception in a thread
                broken.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(100):
        files.write_json(path, ["x"] * (2000 + i % 2))
    stop.set()
    reader.join()
    assert seen <= {2000, 2001} and not broken


def test_what_is_not_finite_is_null_in_json(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [np.nan, (np.inf, 1.5)], "b": -np.inf})
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == {
        "a": [None, [None, 1.5]],
        "b": None,
    }


def test_a_path_is_one_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.local("x", "~/a") == tmp_path / "a"
    assert files.local("x", pathlib.Path("a/b")) == pathlib.Path("a/b")
    (tmp_path / "loop").symlink_to("loop")
    for path in (
        *("", "gs://bucket/a", pathlib.Path("gs://bucket/a"), "s3://b", "file:///a", "~nobody-here/a", "a\0b"),
        *(tmp_path / "loop", tmp_path / "loop/a", "a/" * 3000),
    ):
        with pytest.raises(ValueError, match="x must be a path on this machine, got"):
            files.local("x", path)
    with pytest.raises(ValueError, match="x must hold names of at most 255 bytes, got 'aaa"):
        files.local("x", "absent/" + "a" * 256)
    for path in (None, 5, b"a"):
        with pytest.raises(TypeError, match=r"x must be a path, a string or a pathlib.Path, got"):
            files.local("x", path)


def test_a_directory_is_written_where_a_link_points(tmp_path):
    """And with a name as long as a file system takes."""
    (tmp_path / "target").mkdir()
    for name, target in (("link", "target"), ("dangling", "made")):
        (tmp_path / name).symlink_to(target)
        with files.staged_directory(tmp_path / name) as staged:
            (staged / "a").write_text(name)
        assert (tmp_path / target / "a").read_text() == name and (tmp_path / name).is_symlink()
    with files.staged_directory(tmp_path / ("a" * 255)):
        pass
    assert len(list(tmp_path.iterdir())) == 5


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        files.write_json(path, object())
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_staged_directory_appears_whole_or_not_at_all(tmp_path):
    with files.staged_directory(tmp_path / "new") as staged:
        (staged / "a").write_text("1")
        assert not (tmp_path / "new").exists()
        assert not staged.name.isdecimal()
    assert (tmp_path / "new" / "a").read_text() == "1"
    with pytest.raises(RuntimeError), files.staged_directory(tmp_path / "other"):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A machine that loses power after the renaming would else keep a name without content."""
    calls = []
    for name in ("fsync", "replace", "rename"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, call=call: (calls.append(name), call(*args)))
    files.write_bytes(tmp_path / "file", b"1")
    with files.staged_directory(tmp_path / "directory") as staged:
        for file in ("a", "b"):
            (staged / file).write_text("1")
    assert calls == ["fsync", "replace", "fsync", "fsync", "rename"]


def test_a_write_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        files.write_bytes(tmp_path / "file", b"1")
    assert not list(tmp_path.iterdir())


def test_a_directory_disappears_whole(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    seen = []
    monkeypatch.setattr(shutil, "rmtree", lambda path: seen.append((tmp_path / "1").exists() or not path.exists()))
    files.remove_directory(tmp_path / "1")
    assert seen == [False]


def test_what_exists_is_not_overwritten(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("1")
    (tmp_path / "file").write_text("1")
    for name in ("full", "file"):
        with (
            pytest.raises(
                FileExistsError, match=r"directory must be a new or an empty directory, got .*, which exists"
            ),
            files.staged_directory(tmp_path / name),
        ):
            pass
    assert (tmp_path / "full" / "kept").read_text() == "1"
    (tmp_path / "empty").mkdir()
    with files.staged_directory(tmp_path / "empty") as staged:
        (staged / "a").write_text("1")
    assert (tmp_path / "empty" / "a").exists()


def test_what_a_kill_left_is_removed_a_day_later_and_nothing_of_a_user(tmp_path):
    with files.staged_directory(tmp_path / "3") as staged:
        prefix = staged.name[:-32]
    old, new, file = (tmp_path / (prefix + digit * 32) for digit in "abc")
    users = [tmp_path / name for name in (".1.staged-old", "kept", prefix + "notes", prefix + "d" * 32 + ".txt")]
    for path in (old, new, *users):
        (path / "variables").mkdir(parents=True)
    file.write_text("a file, which is no folder of ours")
    for path in (old, file, *users):
        os.utime(path, (0, 0))
    os.utime(new, (time.time() - 23 * 3600,) * 2)
    with files.staged_directory(tmp_path / "4"):
        pass
    assert set(tmp_path.iterdir()) == {new, file, *users, tmp_path / "3", tmp_path / "4"}


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("1")
    with pytest.raises(PermissionError, match=r"directory must be in a folder that can be written"):
        files.check_new(tmp_path / "file" / "below")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # root writes anywhere
        return
    with pytest.raises(PermissionError, match=r"directory must be in a folder that can be written"):
        files.check_new(locked / "new")


@pytest.mark.skipif(not os.path.isdir("/proc/self") or os.geteuid() != 0, reason="no /proc, or not root")
def test_a_folder_that_only_seems_to_be_writable_is_named():
    rule = r"output must be in a folder that can be written, got /proc/run(/model)?"
    for path in ("/proc/run", "/proc/run/model"):  # to root both seem so
        with pytest.raises(OSError, match=rule), files.staged_directory(path, "output"):
            pass


@pytest.mark.parametrize(("read", "name"), [(files.read_json, "a.json"), (files.read_arrays, "a.npz")])
def test_missing_and_corrupt_files_are_named(tmp_path, read, name):
    path = pathlib.Path(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f"must hold {name}, which is missing"):
        read(path)
    for content in (b"", b"\x80rubbish"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} must hold .*, but is corrupt"):
            read(path)


def npy(header, content=b""):
    header = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


ROW = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,)}"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy(ROW[:50]), "is corrupt"),
        (npy("(" * 80), "is corrupt"),
        (npy("{'descr': [('a', '<f4'), ('b')], 'fortran_order': False, 'shape': (3,)}"), "is corrupt"),
        (npy(ROW % 10**12), "is corrupt"),
        (npy(ROW % 10**40), "is corrupt"),
        (npy(ROW % -3), "is corrupt"),
        (b"no array", "is corrupt"),
        (npy(ROW % 1, np.float32(np.nan).tobytes()), "is corrupt: a is not finite"),
        (npy(ROW % 10**7, bytes(4 * 10**7)), "is corrupt: it unpacks to 40000129 bytes"),
    ],
)
def test_broken_arrays_are_refused_in_one_line(tmp_path, member, message):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED if len(member) > 10**6 else 0) as file:
        file.writestr("a.npy", member)
    with pytest.raises(ValueError, match=r"a.npz must hold arrays, but ") as caught:
        files.read_arrays(tmp_path / "a.npz")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[" * 10**5, b'{"a":' * 10**5, b"9" * 400, b"9" * 5000, b'"\xff"', b" " * (2**26 + 1), b"null", b"[]"]
)
def test_broken_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.json must hold JSON, but is corrupt: .{5,}$"):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("read", [files.read_json, files.read_arrays])
def test_what_has_no_end_is_not_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", "."):
        with pytest.raises(ValueError, match="must be a regular file"):
            read(tmp_path / name)


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "a.npz"
    files.write_arrays(path, {"x": np.zeros(1000)})
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz must hold arrays, but is corrupt"):
        files.read_arrays(path)


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match=r"a.npz must hold arrays, but is corrupt"):
        files.read_arrays(tmp_path / "a.npz")


def test_of_two_that_write_a_directory_the_second_is_told(tmp_path):
    with (
        pytest.raises(FileExistsError, match="another process has written it"),
        files.staged_directory(tmp_path / "a") as mine,
    ):
        (mine / "content").write_text("mine")
        with files.staged_directory(tmp_path / "a") as theirs:
            (theirs / "content").write_text("theirs")
    assert (tmp_path / "a/content").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
