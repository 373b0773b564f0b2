"""Hostile archives are refused with a sentence and leave nothing behind; honest ones arrive whole."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from domains.archives.limits import Limits
from domains.archives.unpack import unpack
from domains.base.errors import DataError

HONEST = {"images/a.png": b"a" * 10, "images/deep/ü b.png": b"b", "labels/a.png": b"", "README": b"read me"}
ZEROS = bytes(4 * 2**20)
TARS = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}


def make_zip(path: Path, files: Iterable[tuple[str, bytes]], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def make_tar(path: Path, files: Iterable[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, TARS.get(path.name, "w:gz")) as archive:  # pyright: ignore
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def make(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    return make_zip(path, files) if path.suffix == ".zip" else make_tar(path, files)


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with the data set below it and something beside it."""
    place = tmp_path / "place"
    (place / "data").mkdir(parents=True)
    (place / "data" / "mine.txt").write_bytes(b"mine")
    (place / "beside.txt").write_bytes(b"beside")
    return place


@pytest.fixture
def refused(place) -> Callable[..., str]:
    """Unpack into the data set, which must fail with one sentence and change nothing there or beside it."""

    def attempt(*archives: Path, **options: object) -> str:
        before = sorted(place.rglob("*")), files_below(place)
        with pytest.raises(DataError) as caught:
            unpack(archives, place / "data", **options)  # pyright: ignore[reportArgumentType]
        assert (sorted(place.rglob("*")), files_below(place)) == before
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    return attempt


@pytest.mark.parametrize("name", ["a.zip", *TARS])
def test_an_honest_archive_arrives_whole_beside_what_is_there(place, tmp_path, name):
    assert unpack([make(tmp_path / name, HONEST.items())], place / "data") == 4
    assert files_below(place / "data") == {**HONEST, "mine.txt": b"mine"}
    assert sorted(path.name for path in place.iterdir()) == ["beside.txt", "data"]


def test_the_name_of_the_file_does_not_matter(place, tmp_path):
    unpack([make_tar(tmp_path / "a.tar.xz", HONEST.items()).rename(tmp_path / "a.zip")], place / "data")
    assert files_below(place / "data").keys() == {*HONEST, "mine.txt"}


def test_the_folder_is_made_and_empty_folders_and_dots_do_no_harm(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        for name, kind in ((".", tarfile.DIRTYPE), ("./images", tarfile.DIRTYPE), ("./images/a.png", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            file.addfile(info)
    unpack([archive], tmp_path / "new" / "data")
    assert files_below(tmp_path / "new" / "data") == {"images/a.png": b""}


def test_unpacking_again_and_a_readme_in_every_part_do_no_harm(place, tmp_path):
    first = make(tmp_path / "a.zip", HONEST.items())
    second = make(tmp_path / "a.tar", [("images/c.png", b"c"), ("README", b"read me")])
    assert unpack([first, second], place / "data") == 5
    assert unpack([first, second], place / "data") == 0


OUTSIDE = ["../x.png", "a/../../x.png", "/x.png", "a/..", "..\\x.png", "C:/x.png", "\\\\host\\x.png"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("form", ["a.zip", "a.tar.gz"])
def test_a_name_that_leads_out_is_refused(refused, tmp_path, form, name):
    text = refused(make(tmp_path / form, [("images/a.png", b"a"), (name, b"x")]))
    assert "could lead out of the folder" in text
    assert repr(name) in text


@pytest.mark.parametrize("name", ["a\n.png", "x" * 256, "a\x1b[2J.png"])
@pytest.mark.parametrize("form", ["a.zip", "a.tar.gz"])
def test_a_name_that_no_disk_or_terminal_should_see_is_refused(refused, tmp_path, form, name):
    assert "not every file system takes" in refused(make(tmp_path / form, [(name, b"x")]))


LINKS = {
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
}


@pytest.mark.parametrize("kind", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("link", ["../beside.txt", "a.png", "/etc/passwd"])
def test_links_and_devices_of_a_tar_are_refused_wherever_they_lead(refused, tmp_path, kind, link):
    path = make_tar(tmp_path / "a.tar", [("odd", b"")], kind, link)
    assert "'odd', a link, device, pipe or sparse file" in refused(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_of_a_zip_are_refused(refused, tmp_path, kind):
    path = make_zip(tmp_path / "a.zip", [("odd", b"../beside.txt")], kind | 0o777)
    assert "'odd', a link or device" in refused(path)


def test_a_file_behind_a_link_that_was_there_before_is_refused(place, refused, tmp_path):
    (place / "elsewhere").mkdir()
    (place / "data" / "images").symlink_to(place / "elsewhere")
    assert "would lie outside" in refused(make(tmp_path / "a.zip", HONEST.items()))


@pytest.mark.parametrize("form", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_a_decompression_bomb_is_refused(refused, tmp_path, form):
    text = refused(make(tmp_path / form, [("images/a.png", ZEROS)]))
    assert "over 200 to 1: a decompression bomb" in text


def test_a_bomb_among_honest_files_is_refused(refused, tmp_path):
    noise = hashlib.shake_256(b"noise").digest(10**6)
    assert "decompression bomb" in refused(make_zip(tmp_path / "a.zip", [("noise", noise), ("bomb", ZEROS)]))


@pytest.mark.parametrize("form", ["a.zip", "a.tar"])
def test_too_many_bytes_are_refused_before_they_are_written(refused, tmp_path, form):
    noise = hashlib.shake_256(b"noise").digest(1000)
    path = make(tmp_path / form, [("a", noise), ("b", noise)])
    assert "more than 1999 bytes when unpacked" in refused(path, limits=Limits(bytes=1999))


@pytest.mark.parametrize("form", ["a.zip", "a.tar"])
def test_more_than_the_disk_has_free_is_refused(refused, tmp_path, form, monkeypatch):
    monkeypatch.setattr("domains.archives.unpack.shutil.disk_usage", lambda _: type("Usage", (), {"free": 5}))
    assert "the disk has 5 free" in refused(make(tmp_path / form, HONEST.items()))


@pytest.mark.parametrize("form", ["a.zip", "a.tar.gz"])
def test_too_many_members_are_refused(refused, tmp_path, form):
    path = make(tmp_path / form, [(f"{index}", b"") for index in range(101)])
    assert "more than 100 members" in refused(path, limits=Limits(members=100))
    assert Limits().members < 1_000_000


@pytest.mark.parametrize("form", ["a.zip", "a.tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("images/a.png", "images/a.png"), "'images/a.png' twice"),
        (("images/a.png", "images/./a.png"), "'images/a.png' twice"),
        (("images/a.png", "images/A.png"), "differ in case"),
        (("images/a.png", "Images/b.png"), "differ in case"),
        (("u\u0308.png", "\u00fc.png"), "differ in case or composition"),
        (("images", "images/a.png"), "'images' twice"),
        (("images/a.png", "images"), "'images' twice"),
    ],
)
def test_names_that_meet_are_refused(refused, tmp_path, form, names, told):
    assert told in refused(make(tmp_path / form, [(name, b"x") for name in names]))


@pytest.mark.parametrize("form", ["a.zip", "a.tar"])
def test_a_file_that_exists_is_never_replaced(refused, tmp_path, form):
    text = refused(make(tmp_path / form, [("images/a.png", b"a"), ("mine.txt", b"not mine")]))
    assert "mine.txt exists" in text
    assert "nothing is replaced" in text


def test_archives_that_disagree_on_a_file_are_refused_together(refused, tmp_path):
    first, second = make(tmp_path / "a.zip", [("x", b"1")]), make(tmp_path / "a.tar", [("x", b"2")])
    assert "nothing is replaced" in refused(first, second)


def test_an_honest_archive_is_not_kept_where_the_next_is_refused(refused, tmp_path):
    first, second = make(tmp_path / "a.zip", HONEST.items()), make(tmp_path / "a.tar", [("../x", b"2")])
    assert "a.tar is refused" in refused(first, second)


def test_a_move_that_fails_takes_back_those_before_it(place, refused, tmp_path):
    (place / "data" / "labels").write_bytes(b"a file where a folder should be")
    refused(make(tmp_path / "a.zip", HONEST.items()))


@pytest.mark.parametrize("form", ["a.zip", *TARS])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_cut_archive_is_refused(refused, tmp_path, form, share):
    noise = hashlib.shake_256(b"noise").digest(20_000)
    path = make(tmp_path / form, [(f"images/{index}.png", noise) for index in range(4)])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert str(path) in refused(path)


def test_a_tar_that_ends_between_two_members_is_refused(refused, tmp_path):
    path = make(tmp_path / "a.tar", [("a", b"a" * 512), ("b", b"b" * 512)])
    path.write_bytes(path.read_bytes()[:1024])
    assert "end without an end mark" in refused(path)


def test_a_damaged_header_in_the_middle_is_refused(refused, tmp_path):
    path = make(tmp_path / "a.tar", [("a", b"a" * 512), ("b", b"b" * 512)])
    content = bytearray(path.read_bytes())
    content[1024 + 5] ^= 1
    path.write_bytes(content)
    assert "end without an end mark" in refused(path)


@pytest.mark.parametrize("form", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_a_flipped_byte_is_found_by_the_checksum(refused, tmp_path, form):
    noise = hashlib.shake_256(b"noise").digest(20_000)
    path = make(tmp_path / form, [("a", noise)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(path)


def test_an_encrypted_member_is_refused(refused, tmp_path):
    path = make(tmp_path / "a.zip", [("a", b"a")])
    content = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + place] |= 1
    path.write_bytes(content)
    assert "encrypted" in refused(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_many_bytes_never_fills_the_memory(refused, tmp_path, kind):
    text = refused(make_tar(tmp_path / "a.tar.gz", [("x", ZEROS), ("a", b"")], kind))
    assert "of headers" in text


def test_a_sparse_file_that_is_nothing_but_a_size_is_refused(refused, tmp_path):
    info = tarfile.TarInfo("a")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398] = header[398:410] = b"00000000000\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    assert "sparse" in refused(tmp_path / "a.tar")


def test_another_file_is_no_archive(refused, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>Please log in</html>" * 100)
    assert "a.zip cannot be unpacked" in refused(tmp_path / "a.zip")
    assert "none.zip does not exist" in refused(tmp_path / "none.zip")


def test_the_digest_is_compared_before_anything_else(place, refused, tmp_path):
    path = make(tmp_path / "a.zip", HONEST.items())
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    text = refused(path, digests=["0" * 64])
    assert f"expected {'0' * 64}, got {good}" in text
    assert "2 sha256 for 1 archives" in refused(path, digests=[good, good])
    assert unpack([path], place / "data", [good.upper()]) == 4
