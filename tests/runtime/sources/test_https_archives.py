"""https://…: the digest before anything else, lines that break, redirects that lead inside."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import requests
from slipway_runtime.artifacts import transfer, web
from slipway_runtime.artifacts.reference import from_uri

from tests.runtime.sources.conftest import WEIGHTS, Fetch, free_space, is_the_model
from tests.support.archives import Site, endless, pack, sha256, site
from tests.support.certificates import Authority
from tests.support.runtime_server import serving


@pytest.fixture
def served(tmp_path: Path, trusted: Authority) -> Iterator[Site]:
    with site(tmp_path / "site", trusted) as found:
        yield found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.01)


@pytest.mark.parametrize("name", ["m.tar.gz", "m.tgz", "m.tar", "m.zip"])
@pytest.mark.parametrize("within", ["", "bert/v1"])
def test_an_archive_of_each_kind_is_fetched_and_only_the_model_unpacked(
    served: Site, model: Path, fetch: Fetch, name: str, within: str
) -> None:
    archive = pack(model, served.folder / name, within=within)
    got = fetch(f"{served.url}/{name}?signature=secret", sha256=sha256(archive))
    assert is_the_model(got, model)
    assert got.revision == f"sha256:{sha256(archive)}"
    assert got.id == f"{served.url}/{name}"
    assert fetch.progress.percent == 100
    assert not fetch.files & {archive.name, f"{sha256(archive)}.tar", f"{sha256(archive)}.zip"}


def test_a_wrong_digest_unpacks_nothing_names_both_and_heals(served: Site, model: Path, fetch: Fetch) -> None:
    right = pack(model, served.folder / "right.zip")
    wrong = pack(model, served.folder / "m.zip", within="other")
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.zip", sha256=sha256(right)))
    assert fault.reason == "ModelCorrupt"
    assert sha256(right) in fault.message
    assert sha256(wrong) in fault.message
    assert fetch.files == {".lock"}
    right.replace(wrong)
    assert is_the_model(fetch(f"{served.url}/m.zip", sha256=sha256(wrong)), model)


def test_connections_that_break_go_on_by_range(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.tar")
    served.cut_after, served.cuts = 400_000, 3
    assert is_the_model(fetch(f"{served.url}/m.tar", sha256=sha256(archive)), model)
    ranges = [asked for _, asked, _ in served.requests]
    assert ranges[0] is None
    assert len([asked for asked in ranges if asked]) == 3
    assert served.cuts == 0


def test_a_server_without_ranges_begins_again(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.tar")
    served.cut_after, served.cuts, served.ranges = 400_000, 2, False
    assert is_the_model(fetch(f"{served.url}/m.tar", sha256=sha256(archive)), model)


def test_what_arrived_before_a_failure_is_not_fetched_again(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.tar")
    served.cut_after, served.cuts, served.answers = 400_000, 1, 1
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.tar", sha256=sha256(archive)))
    assert fault.reason == "SourceUnreachable"
    assert "HTTP 503" in fault.message
    served.answers = -1
    served.requests.clear()
    assert is_the_model(fetch(f"{served.url}/m.tar", sha256=sha256(archive)), model)
    [(_, asked, _)] = served.requests
    assert asked is not None
    assert int(asked.removeprefix("bytes=").rstrip("-")) > 200_000


def test_a_token_goes_to_the_host_and_no_further(
    served: Site, model: Path, fetch: Fetch, tmp_path: Path, trusted: Authority
) -> None:
    archive = pack(model, served.folder / "m.zip")
    served.token = "hf-secret-token"
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.zip", sha256=sha256(archive)))
    assert (fault.reason, fault.param) == ("ModelGated", "model.tokenSecretRef")
    (tmp_path / "token").write_text("hf-secret-token\n")
    with site(served.folder, trusted) as other:
        served.redirects["/start.zip"] = f"{other.url.replace('127.0.0.1', 'localhost')}/m.zip"
        fetch(f"{served.url}/start.zip", sha256=sha256(archive), token=tmp_path / "token")
        assert served.requests[-1][2] == "Bearer hf-secret-token"
        assert [authorization for _, _, authorization in other.requests] == [None]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://127.0.0.1:1/m.zip", "127.0.0.1:1 is not asked without TLS: name it in SLIPWAY_PLAIN_HTTP_HOSTS"),
        ("https://169.254.169.254/latest/meta-data/m.zip", "169.254.169.254 is at 169.254.169.254"),
        ("https://[fd00:ec2::254]/m.zip", "fd00:ec2::254"),
        ("https://[::ffff:169.254.169.254]/m.zip", "169.254.169.254"),
    ],
)
def test_redirects_that_lead_inside_or_out_of_tls_are_not_followed(
    served: Site, fetch: Fetch, target: str, words: str
) -> None:
    served.redirects["/m.zip"] = target
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.zip", sha256="0" * 64))
    assert fault.reason == "BadConfiguration"
    assert words in fault.message


def test_a_name_that_turns_out_to_be_this_machine_gets_nothing(served: Site, trusted: Authority) -> None:
    port = served.url.rpartition(":")[2]
    with (
        web.guard(requests.Session(), "models.example", ()) as session,
        pytest.raises(web.Refused, match=r"127\.0\.0\.1"),
    ):
        session.get(f"https://localhost:{port}/m.zip")
    assert served.requests == []


@pytest.mark.parametrize("address", ["169.254.1.1", "fe80::1%eth0", "100.100.100.200", "168.63.129.16", "127.0.0.1"])
def test_addresses_are_looked_at_once_connected(address: str) -> None:
    class Connected:
        closed = False

        def getpeername(self) -> tuple[str, int]:
            return address, 443

        def close(self) -> None:
            self.closed = True

    connected: Any = Connected()
    with pytest.raises(web.Refused):
        web._checked(connected, "models.example", False)
    assert connected.closed


def test_a_certificate_that_nobody_knows_is_said(
    tmp_path: Path, authority: Authority, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with site(tmp_path / "site", authority) as untrusted:
        fault = fetch.fault(lambda: fetch(f"{untrusted.url}/m.zip", sha256="0" * 64))
    assert fault.reason == "SourceUnreachable"
    assert "not trusted: name its authority's file in SSL_CERT_FILE" in fault.message


def test_a_missing_archive_is_named(served: Site, fetch: Fetch) -> None:
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.zip?key=secret", sha256="0" * 64))
    assert fault.reason == "ModelNotFound"
    assert "secret" not in fault.message


def test_plain_http_needs_the_host_to_be_named(tmp_path: Path, model: Path, fetch: Fetch) -> None:
    with site(tmp_path / "site", None) as plain:
        archive = pack(model, plain.folder / "m.zip")
        host = plain.url.removeprefix("http://")
        with pytest.raises(ValueError, match=f"plain HTTP only with {host} in SLIPWAY_PLAIN_HTTP_HOSTS"):
            from_uri(f"{plain.url}/m.zip", sha256=sha256(archive), token_file="", plain_hosts=())
        assert is_the_model(fetch(f"{plain.url}/m.zip", sha256=sha256(archive), plain=host), model)


def test_once_fetched_nobody_is_asked_again_unless_a_file_was_changed(served: Site, model: Path, fetch: Fetch) -> None:
    archive = pack(model, served.folder / "m.tar.gz")
    got = fetch(f"{served.url}/m.tar.gz", sha256=sha256(archive))
    count = len(served.requests)
    assert is_the_model(fetch(f"{served.url}/m.tar.gz", sha256=sha256(archive)), model)
    assert len(served.requests) == count
    weights = got.folder / WEIGHTS
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    assert is_the_model(fetch(f"{served.url}/m.tar.gz", sha256=sha256(archive)), model)
    assert len(served.requests) > count


def test_a_server_serves_it_and_shows_digest_and_name(
    served: Site, model: Path, tmp_path: Path, trusted: Authority
) -> None:
    archive = pack(model, served.folder / "emotions.tar.gz", within="emotions")
    variables = {
        "SLIPWAY_MODEL_URI": f"{served.url}/emotions.tar.gz?signature=secret",
        "SLIPWAY_MODEL_SHA256": sha256(archive),
        "SSL_CERT_FILE": str(trusted.certificate),
    }
    with serving(tmp_path / "server", True, **variables) as server:
        status = server.wait_for_stage("Ready")
        assert status["model"]["id"] == f"{served.url}/emotions.tar.gz"
        assert status["model"]["revision"] == f"sha256:{sha256(archive)}"
        assert status["model"]["fromCache"] is False
        assert server.post({"inputs": "a film"}).status_code == 200
        assert "secret" not in server.log.read_text() + str(server.status())


def test_a_redirect_with_an_endless_page_is_not_read_into_memory(fetch: Fetch) -> None:
    with endless("/m.zip", redirect=True) as (host, sent):
        fault = fetch.fault(lambda: fetch(f"http://{host}/m.zip", sha256="0" * 64, plain=host))
    assert fault.reason == "SourceUnreachable"
    assert "(TooLong)" in fault.message
    assert sum(sent) < 32 * 1024**2


def test_an_archive_for_which_there_is_no_room_leaves_no_connection_open(
    served: Site, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is kept, for /status, and with it all that the attempt held."""
    archive = pack(model, served.folder / "m.tar")
    free_space(monkeypatch, 100)
    fault = fetch.fault(lambda: fetch(f"{served.url}/m.tar", sha256=sha256(archive)))
    assert fault.reason == "NoSpace"
    port = int(served.url.rpartition(":")[2])
    ours = [one for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port == port]
    assert [one.status for one in ours if one.status == psutil.CONN_ESTABLISHED] == []


def test_what_arrived_before_needs_no_room_again(
    served: Site, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(model, served.folder / "m.tar")
    served.cut_after, served.cuts, served.answers = 400_000, 1, 1
    fetch.fault(lambda: fetch(f"{served.url}/m.tar", sha256=sha256(archive)))
    served.answers = -1
    size = archive.stat().st_size
    free_space(monkeypatch, size - 400_000, size)  # for the rest of the archive, and for what is unpacked
    assert is_the_model(fetch(f"{served.url}/m.tar", sha256=sha256(archive)), model)


def test_a_closed_port_is_unreachable(fetch: Fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fault = fetch.fault(lambda: fetch(f"https://127.0.0.1:{port}/m.zip", sha256="0" * 64))
    assert fault.reason == "SourceUnreachable"
