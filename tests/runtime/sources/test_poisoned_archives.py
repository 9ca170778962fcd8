"""Archives with tricks: refused whole, by name, before a byte of them is written outside of the place for downloads."""

from __future__ import annotations

import gzip
import io
import json
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from slipway_runtime.artifacts import archives
from slipway_runtime.artifacts.tars import TarReader
from slipway_runtime.artifacts.zips import ZipReader
from slipway_runtime.errors import ModelFault

from tests.runtime.sources.conftest import Fetch, is_the_model
from tests.support.archives import Change, Site, bomb, entry, long_header, pack, sha256, site
from tests.support.certificates import Authority

ESCAPED = "../" * 40 + "tmp/slipway-escaped"


@pytest.fixture
def served(tmp_path: Path, trusted: Authority) -> Iterator[Site]:
    with site(tmp_path / "site", trusted) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_escapes(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, these must not be there afterwards."""
    yield
    for path in ("/tmp/slipway-escaped", tmp_path / "canary", "/slipway-escaped"):
        assert not Path(path).exists()


def sparse(size: int) -> Change:
    """A file with holes, by an extended header: of `size` bytes, of which almost nothing is here."""

    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("model.safetensors.gguf")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x",
                            "GNU.sparse.realsize": str(size)}  # fmt: skip
        content = b"0\n".ljust(512, b"\0")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    return add


TARS: dict[str, tuple[Change, str]] = {
    "parent path": (entry(ESCAPED, b"x"), "has a path that leads out"),
    "parent path in the middle": (entry("a/../../b", b"x"), "has a path that leads out"),
    "absolute path": (entry("/slipway-escaped", b"x"), "has an absolute path"),
    "backslashes": (entry("..\\..\\escaped", b"x"), "has an absolute path or a backslash"),
    "drive": (entry("C:/escaped", b"x"), "has an absolute path"),
    "folder that leads out": (entry("../out/", kind=tarfile.DIRTYPE), "has a path that leads out"),
    "symbolic link out": (entry("vocab.txt", kind=tarfile.SYMTYPE, link="/etc/passwd"), "is a link"),
    "symbolic link inside": (entry("vocab.txt", kind=tarfile.SYMTYPE, link="config.json"), "is a link"),
    "hard link out": (entry("vocab.txt", kind=tarfile.LNKTYPE, link="/etc/passwd"), "is a link"),
    "hard link inside": (entry("vocab.txt", kind=tarfile.LNKTYPE, link="config.json"), "is a link"),
    "character device": (entry("vocab.txt", kind=tarfile.CHRTYPE), "is neither a file nor a folder"),
    "block device": (entry("vocab.txt", kind=tarfile.BLKTYPE), "is neither a file nor a folder"),
    "pipe": (entry("vocab.txt", kind=tarfile.FIFOTYPE), "is neither a file nor a folder"),
    "name twice": (entry("config.json", b"{}"), "'config.json' is in it twice"),
    "name twice by a detour": (entry("./config.json", b"{}"), "'config.json' is in it twice"),
    "newline": (entry("config.json\n", b"{}"), "has a name with control characters"),
    "escape sequence": (entry("\x1b[2Jconfig.json", b"{}"), "has a name with control characters"),
    "endless name": (entry("a" * 5000, b"{}"), "has a name of more than 1024 characters"),
    "sparse file": (sparse(100), "is a sparse file"),
    "sparse terabyte": (sparse(2**40), "grows to more than"),
    "case": (entry("Vocab.model", b"x"), "has both Vocab.model and vocab.model"),
}


@pytest.mark.parametrize("trick", TARS)
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_with_a_trick_is_refused_whole(served: Site, model: Path, fetch: Fetch, trick: str, suffix: str) -> None:
    change, words = TARS[trick]

    def both(archive: tarfile.TarFile) -> None:
        if trick == "case":
            entry("vocab.model", b"y")(archive)
        change(archive)

    refused(served, pack(model, served.folder / f"m{suffix}", change=both), fetch, words)


def refused(served: Site, archive: Path, fetch: Fetch, words: str, reason: str = "UnsafeFormat") -> None:
    fault = fetch.fault(lambda: fetch(f"{served.url}/{archive.name}", sha256=sha256(archive)))
    assert fault.reason == reason, fault.message
    assert words in fault.message
    assert all(name == ".lock" or name.endswith((".tar", ".zip")) for name in fetch.files)


def test_a_link_in_the_way_of_a_file_is_refused_before_it_is_written_through(
    served: Site, model: Path, fetch: Fetch, tmp_path: Path
) -> None:
    """A link first, then a file below it: the classic way out."""

    def add(archive: tarfile.TarFile) -> None:
        entry("0_Out", kind=tarfile.SYMTYPE, link=str(tmp_path))(archive)
        entry("0_Out/config.json", b"{}")(archive)

    refused(served, pack(model, served.folder / "m.tar", change=add), fetch, "'0_Out' is a link")


def test_a_bomb_is_refused_by_the_size_that_it_claims(
    served: Site, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "GROWTH_SLACK", 1024**2)
    served.folder.mkdir(exist_ok=True)
    refused(served, bomb(served.folder / "m.tar.gz", 64 * 1024**2), fetch, "grows to more than")
    with zipfile.ZipFile(served.folder / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(64 * 1024**2))
    refused(served, served.folder / "m.zip", fetch, "grows to more than")


def test_a_header_that_asks_for_memory_gets_none(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.tar.gz", change=long_header)
    refused(served, archive, fetch, "cannot be read as an archive", "ModelCorrupt")


def test_too_many_files_are_refused(served: Site, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway_runtime.artifacts.tars.MOST_FILES", 3)
    monkeypatch.setattr("slipway_runtime.artifacts.zips.MOST_FILES", 3)
    for suffix in (".tar", ".zip"):
        refused(served, pack(model, served.folder / f"m{suffix}"), fetch, "has more than 3 files")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_an_archive_that_is_none_or_ends_early_is_corrupt(served: Site, model: Path, fetch: Fetch, suffix: str) -> None:
    archive = pack(model, served.folder / f"m{suffix}")
    archive.write_bytes(archive.read_bytes()[:-200_000])
    fault = fetch.fault(lambda: fetch(f"{served.url}/{archive.name}", sha256=sha256(archive)))
    assert fault.reason == "ModelCorrupt"
    archive.write_bytes(b"not an archive at all")
    fault = fetch.fault(lambda: fetch(f"{served.url}/{archive.name}", sha256=sha256(archive)))
    assert fault.reason == "ModelCorrupt"


def zipped(target: Path, model: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    pack(model, target)
    with zipfile.ZipFile(target, "a") as archive:
        change(archive)
    return target


def linked(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("vocab.txt")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def device(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("vocab.txt")
    info.create_system, info.external_attr = 3, (stat.S_IFCHR | 0o666) << 16
    archive.writestr(info, "")


def twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")


def packed_otherwise(archive: zipfile.ZipFile) -> None:
    archive.writestr("vocab.txt", "x" * 1000, zipfile.ZIP_LZMA)


ZIPS: dict[str, tuple[Callable[[zipfile.ZipFile], None], str]] = {
    "parent path": (lambda z: z.writestr(ESCAPED, "x"), "has a path that leads out"),
    "absolute path": (lambda z: z.writestr("/slipway-escaped", "x"), "has an absolute path"),
    "backslashes": (lambda z: z.writestr("..\\..\\escaped", "x"), "has an absolute path or a backslash"),
    "link by its attributes": (linked, "is a link"),
    "device by its attributes": (device, "is neither a file nor a folder"),
    "name twice": (twice, "'config.json' is in it twice"),
    "newline": (lambda z: z.writestr("config.json\n", "{}"), "has a name with control characters"),
    "another method": (packed_otherwise, "is packed by a method other than deflate"),
}


@pytest.mark.parametrize("trick", ZIPS)
def test_a_zip_with_a_trick_is_refused_whole(served: Site, model: Path, fetch: Fetch, trick: str) -> None:
    change, words = ZIPS[trick]
    refused(served, zipped(served.folder / "m.zip", model, change), fetch, words)


def test_a_zip_whose_entries_share_bytes_is_refused(served: Site, model: Path, fetch: Fetch) -> None:
    """As the bombs that need no nesting: a second directory entry leads to the first one's bytes."""
    archive = pack(model, served.folder / "m.zip")
    content = bytearray(archive.read_bytes())
    offsets = [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]
    first, second = (struct.unpack_from("<L", content, at + 42)[0] for at in offsets[:2])
    assert first != second
    struct.pack_into("<L", content, offsets[1] + 42, first)
    archive.write_bytes(content)
    refused(served, archive, fetch, "share bytes")


def test_an_encrypted_zip_is_refused(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.zip")
    content = bytearray(archive.read_bytes())
    for at in range(len(content)):
        if content[at : at + 4] == b"PK\x01\x02":
            content[at + 8] |= 1
    archive.write_bytes(content)
    refused(served, archive, fetch, "is encrypted")


def test_a_zip_with_a_huge_directory_is_refused_before_it_is_read(
    served: Site, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway_runtime.artifacts.zips._MOST_DIRECTORY", 100)
    refused(served, pack(model, served.folder / "m.zip"), fetch, "its directory has more than 100 bytes")


def test_a_directory_of_zip64_that_the_end_of_the_archive_hides_is_measured(
    served: Site, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zipfile takes the size from zip64's record wherever a locator stands, whatever the end itself says."""
    archive = pack(model, served.folder / "m.zip")
    content = archive.read_bytes()
    end = len(content) - 22
    directory, place = struct.unpack_from("<2L", content, end + 12)
    entries = struct.unpack_from("<H", content, end + 10)[0]
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, directory, place)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    lie = content[end : end + 12] + struct.pack("<2L", 50, place) + content[end + 20 :]
    archive.write_bytes(content[:end] + record + locator + lie)
    monkeypatch.setattr("slipway_runtime.artifacts.zips._MOST_DIRECTORY", 100)
    refused(served, archive, fetch, "its directory has more than 100 bytes")
    # A locator that leads elsewhere is read differently by different versions of zipfile.
    archive.write_bytes(content[:end] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + lie)
    refused(served, archive, fetch, "cannot be read as an archive", "ModelCorrupt")


def test_headers_that_each_announce_the_next_one_end(served: Site, model: Path, fetch: Fetch) -> None:
    """tarfile follows them by calling itself."""

    def chain(archive: tarfile.TarFile) -> None:
        for _ in range(2000):
            entry("x", b"12 a=bbbbbb\n", kind=tarfile.XHDTYPE)(archive)

    archive = pack(model, served.folder / "m.tar", change=chain)
    refused(served, archive, fetch, "cannot be read as an archive (RecursionError)", "ModelCorrupt")


def test_a_directory_before_the_archives_beginning_is_corrupt(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.zip")
    content = bytearray(archive.read_bytes())
    struct.pack_into("<L", content, len(content) - 22 + 12, len(content) * 2)  # so the directory begins before the file
    archive.write_bytes(content)
    refused(served, archive, fetch, "cannot be read as an archive", "ModelCorrupt")


def test_a_zip_with_a_file_without_a_name_is_refused(served: Site, model: Path, fetch: Fetch) -> None:
    archive = zipped(served.folder / "m.zip", model, lambda z: z.writestr("NAME", "x"))
    archive.write_bytes(archive.read_bytes().replace(b"NAME", b"\0AME"))  # zipfile ends a name at a zero
    refused(served, archive, fetch, "has no name")


@pytest.mark.parametrize("seed", range(3))
def test_archives_with_bytes_turned_are_read_or_refused_and_nothing_else(
    tmp_path: Path, model: Path, seed: int
) -> None:
    """Whatever is in the headers, a fault is told in our words: an exception of a library would be no fault at all."""
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    small = tmp_path / "small"
    small.mkdir()
    for name in ("config.json", "vocab.txt", "n" * 120):
        (small / name).write_text("{}" * 40)
    for suffix, reader in ((".tar", TarReader), (".tar.gz", TarReader), (".zip", ZipReader)):
        archive = pack(small, tmp_path / f"m{suffix}")
        content = gzip.decompress(archive.read_bytes()) if suffix == ".tar.gz" else archive.read_bytes()
        for _ in range(100):
            changed = bytearray(content)
            for _ in range(dice.choice((1, 2, 8))):
                changed[dice.randrange(min(len(changed), 4096))] = dice.choice(b"\0\x01\x7f\x80\xff-xgLS09")
            archive.write_bytes(gzip.compress(changed, 1) if suffix == ".tar.gz" else changed)
            with suppress(ModelFault):
                found = archives.contents(reader(archive, "m"), "m")
                found.extract(found.files, tmp_path / "out")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_code_and_pickles_in_an_archive_stay_in_it(served: Site, model: Path, fetch: Fetch, suffix: str) -> None:
    archive = pack(model, served.folder / f"m{suffix}")
    assert is_the_model(fetch(f"{served.url}/{archive.name}", sha256=sha256(archive)), model)
    assert not fetch.files & {"handler.py", "pytorch_model.bin"}


def test_a_config_that_asks_for_code_is_refused_before_the_weights_are_unpacked(
    served: Site, model: Path, fetch: Fetch, tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(model, tmp_path / "evil"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] = {"auto_map": {"AutoModel": "modeling_custom.Custom"}}
    (folder / "config.json").write_text(json.dumps(config))
    archive = pack(folder, served.folder / "m.zip")
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.zip", sha256=sha256(archive)))
    assert fault.reason == "UnsafeFormat"
    assert "auto_map in config.json" in fault.message
    assert "model.safetensors" not in fetch.files
