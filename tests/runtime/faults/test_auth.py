"""Who may ask: tokens from a folder as Kubernetes mounts a Secret, on every route but the probes."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.conftest import Serve
from tests.support import models, raw_http
from tests.support.runtime_server import RuntimeServer
from tests.support.waiting import consistently, eventually

FIRST, SECOND = "canary-3f9a1c7e-first", "canary-8d2b6e04-second"
PROBES = ("/health", "/ping", "/v2/health/live", "/v2/health/ready")
BODY = {"inputs": "a film"}


class SecretVolume:
    """A folder as the kubelet keeps it: keys are links into `..data`, itself a link, which is swapped as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = itertools.count()
        folder.mkdir()

    def hold(self, **tokens: str) -> None:
        version = self.folder / f"..2026_11_21_{next(self._versions)}"
        version.mkdir()
        for name, token in tokens.items():
            (version / name).write_text(token)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
        for name in tokens:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for entry in self.folder.iterdir():
            if not entry.name.startswith("..") and entry.name not in tokens:
                entry.unlink()


@dataclass
class Guarded:
    server: RuntimeServer
    secret: SecretVolume

    def ask(self, token: str | None, body: object = BODY, path: str = "/", **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return self.server.post(body, path, headers=given | headers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.classifier(tmp_path_factory.mktemp("auth") / "classifier")


@pytest.fixture(scope="module")
def shared(serve: Serve, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    secret = SecretVolume(tmp_path_factory.mktemp("auth") / "tokens")
    secret.hold(one=f"{FIRST}\n")
    with serve(folder, SLIPWAY_API_TOKENS_DIR=str(secret.folder), SLIPWAY_ENDPOINT="emotions") as server:
        yield Guarded(server, secret)


@pytest.fixture
def guarded(shared: Guarded) -> Guarded:
    """With the first token alone."""
    shared.secret.hold(one=f"{FIRST}\n")
    eventually(lambda: shared.ask(FIRST).status_code == 200 and shared.ask(SECOND).status_code == 401)
    return shared


def test_a_token_of_the_folder_is_let_in_and_its_last_line_break_does_not_count(guarded: Guarded) -> None:
    assert guarded.ask(FIRST).status_code == 200
    lower = guarded.server.post(BODY, headers={"Authorization": f"bearer {FIRST}"})
    assert lower.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        FIRST,
        f"Basic {FIRST}",
        f"Bearer {FIRST}x",
        f"Bearer {FIRST[:-1]}",
        f"Bearer {FIRST.upper()}",
        f"Bearer {FIRST},{SECOND}",
        f"Bearer,{FIRST}",
        "Bearer " + "x" * 20_000,
        "Bearer \xff\xfe",
        "Bearer " + FIRST.replace("-", "%2d"),
    ],
    ids=lambda header: str(header)[:24],
)
def test_any_other_header_is_refused_before_the_body_is_read(guarded: Guarded, header: str | None) -> None:
    given = [] if header is None else [f"Authorization: {header}"]
    announced = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
    request = announced + "".join(f"{one}\r\n" for one in given).encode("latin-1") + b"\r\n"
    reply = raw_http.ask(guarded.server.http_port, request)  # the body never comes
    assert reply is not None
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.headers["connection"] == "close"
    assert reply.json()["error_type"] == "unauthorized"


def test_two_headers_are_refused_even_where_one_is_right(guarded: Guarded) -> None:
    for pair in ((FIRST, "wrong"), ("wrong", FIRST), (FIRST, FIRST)):
        headers = [f"Authorization: Bearer {one}" for one in pair]
        reply = raw_http.ask(guarded.server.http_port, raw_http.post("/", BODY, *headers))
        assert reply is not None
        assert reply.status == 401


@pytest.mark.parametrize("name", ["api-key", "x-api-key", "Proxy-Authorization", "Cookie", "X-Authorization"])
def test_no_other_header_and_no_query_carries_a_token(guarded: Guarded, name: str) -> None:
    headers = {name: FIRST if "key" in name else f"token={FIRST}" if name == "Cookie" else f"Bearer {FIRST}"}
    assert guarded.server.post(BODY, headers=headers).status_code == 401
    assert guarded.server.post(BODY, f"/?token={FIRST}&access_token={FIRST}&api_key={FIRST}").status_code == 401


def served_paths(guarded: Guarded) -> list[tuple[str, str]]:
    """(method, path) of every route, from the server's own document, and those that the document leaves out."""
    document: dict[str, Any] = httpx.get(
        f"{guarded.server.url}/openapi.json", headers={"Authorization": f"Bearer {FIRST}"}
    ).json()
    found = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    assert len(found) > 25
    return [*found, ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/page/model.json"), ("GET", "/page/none.js")]


def test_every_route_and_every_method_needs_a_token_404_and_405_too(guarded: Guarded) -> None:
    paths = {path for _, path in served_paths(guarded)} - set(PROBES)
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
    with httpx.Client(base_url=guarded.server.url) as client:
        for path in [*sorted(paths), "/nothing", "/metrics", "/status", "/v1", "/v1/nothing", "/v2/nothing"]:
            for method in methods:
                answer = client.request(method, path.replace("{", "").replace("}", ""))
                assert answer.status_code == 401, (method, path, answer.status_code)
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_probes_are_open_to_reading_alone_and_say_nothing_of_the_model(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.server.url) as client:
        for path in PROBES:
            for method in ("GET", "HEAD"):
                answer = client.request(method, path)
                assert answer.status_code == 200, (method, path)
                assert "classifier" not in answer.text
                assert "emotions" not in answer.text
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                assert client.request(method, path).status_code == 401, (method, path)


@pytest.mark.parametrize(
    "target",
    [
        "/health/", "//health", "/./health", "/health/.", "/health/../info", "/health/..;/info", "/health;/info",
        "/health;x", "/Health", "/HEALTH", "/health%2f..%2finfo", "/health/%2e%2e/info", "/health%00", "/health%20",
        "/health%09", "/health%0d%0ax", "/info?/health", "/info#/health", "/info%3f/health", "/info;/health",
        "/ping/x", "/v2/health/livex", "/v2/health/", "/v2/health", "/page/", "/page", "/page/main.js/..",
        "/page//main.js", "/page/../info", "/page/%2e%2e/info", "/page/model.json", "/page/card.py", "/page/x.py",
        "http://health/info", "http://a/health/../info", "http:///health", "//a/health", "/\xe9", "/%ff",
        "/info/health",
    ],
)  # fmt: skip
def test_no_way_of_writing_a_path_passes_for_a_probe(guarded: Guarded, target: str) -> None:
    for host in ("a", "a/health", "a/health?", "[", "127.0.0.1:1/health#"):
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        reply = raw_http.ask(guarded.server.http_port, request)
        assert reply is not None
        assert reply.status in (400, 401), (target, host, reply)
        assert b"classifier" not in reply.body


@pytest.mark.parametrize("target", ["/health", "http://a/health", "/%68ealth", "/health?x=1"])
def test_a_probe_is_one_however_its_letters_are_written(guarded: Guarded, target: str) -> None:
    reply = raw_http.ask(guarded.server.http_port, raw_http.get(target))
    assert reply is not None
    assert (reply.status, reply.json()) == (200, {"status": "ok"})


def test_headers_that_rewrite_urls_behind_proxies_change_nothing(guarded: Guarded) -> None:
    names = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-HTTP-Method-Override")
    for name in names:
        reply = raw_http.ask(guarded.server.http_port, raw_http.get("/info", f"{name}: /health"))
        assert reply is not None
        assert reply.status == 401


def test_a_websocket_is_not_let_through(guarded: Guarded) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
    reply = raw_http.ask(guarded.server.http_port, raw_http.get("/info", *upgrade))
    assert reply is not None
    assert reply.status == 401


@pytest.mark.parametrize(
    ("path", "code_of"),
    [
        ("/", lambda body: body["error_type"]),
        ("/generate", lambda body: body["error_type"]),
        ("/invocations", lambda body: body["error_type"]),
        ("/v1/chat/completions", lambda body: body["error"]["code"]),
        ("/v1/models", lambda body: body["error"]["code"]),
        ("/v2/models/emotions/infer", lambda body: "unauthorized" if isinstance(body["error"], str) else None),
        ("/score", lambda body: body["error"]["code"]),
    ],
)
def test_a_refusal_has_the_shape_of_the_path_s_format(
    guarded: Guarded, path: str, code_of: Callable[[Any], str]
) -> None:
    answer = guarded.ask("wrong", path=path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert code_of(answer.json()) in ("unauthorized", "invalid_api_key", "Unauthorized")
    assert guarded.ask(None, path=path).headers["www-authenticate"] == "Bearer"


def test_openai_s_and_hugging_face_s_clients_send_the_token_themselves(guarded: Guarded) -> None:
    import openai
    from huggingface_hub import InferenceClient

    base = f"{guarded.server.url}/v1"
    with openai.OpenAI(base_url=base, api_key=FIRST, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["emotions"]
    with openai.OpenAI(base_url=base, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()
        assert refused.value.code == "invalid_api_key"
    assert InferenceClient(guarded.server.url, token=FIRST).text_classification("a film")


def test_a_refused_caller_s_connection_serves_the_next_request(guarded: Guarded) -> None:
    with raw_http.connect(guarded.server.http_port) as sock:
        for token, status in (("wrong", 401), (FIRST, 200), ("wrong", 401), (FIRST, 200)):
            sock.sendall(raw_http.post("/", BODY, f"Authorization: Bearer {token}"))
            reply = raw_http.answer(sock)
            assert reply is not None
            assert reply.status == status


def test_tokens_are_rotated_under_load_without_a_lost_request(guarded: Guarded) -> None:
    """Both are valid for a while, as whoever rotates tokens sees to; callers change over in that time."""
    token, stop, failures, answered = [FIRST], threading.Event(), list[int](), itertools.count()

    def call() -> None:
        with httpx.Client(base_url=guarded.server.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/", json=BODY, headers={"Authorization": f"Bearer {token[0]}"})
                next(answered)
                if answer.status_code != 200:
                    failures.append(answer.status_code)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(3):
            old, new = (FIRST, SECOND) if token[0] == FIRST else (SECOND, FIRST)
            guarded.secret.hold(old=old, new=new)
            eventually(lambda new=new: guarded.ask(new).status_code == 200, timeout=10)  # type: ignore[misc]
            token[0] = new
            before = next(answered)
            eventually(lambda before=before: next(answered) > before + 20)  # type: ignore[misc]
            guarded.secret.hold(new=new)
            eventually(lambda old=old: guarded.ask(old).status_code == 401, timeout=10)  # type: ignore[misc]
            consistently(lambda new=new: guarded.ask(new).status_code == 200, 0.5)  # type: ignore[misc]
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failures == []


def test_a_folder_without_a_token_lets_nobody_in_and_heals_without_a_restart(guarded: Guarded) -> None:
    def problem() -> str | None:
        found: dict[str, Any] = guarded.server.status()["apiTokens"]
        assert (found["accepted"] == 0) == (found["problem"] is not None)
        reason: str | None = found["problem"]
        return reason

    secret = guarded.secret
    secret.hold(empty="", blank="\n")
    assert "has no token" in eventually(problem, timeout=10)
    for given in ([f"Authorization: Bearer {FIRST}"], ["Authorization: Bearer "], ["Authorization:"], []):
        reply = raw_http.ask(guarded.server.http_port, raw_http.post("/", BODY, *given))
        assert reply is not None
        assert reply.status == 401
    assert "no tokens now" in guarded.ask(FIRST).json()["error"]
    away = secret.folder.with_name("away")
    secret.folder.rename(away)
    eventually(lambda: "No such file" in (problem() or ""), timeout=10)
    assert guarded.ask(FIRST).status_code == 401
    away.rename(secret.folder)
    secret.hold(one=FIRST)
    eventually(lambda: guarded.ask(FIRST).status_code == 200, timeout=10)
    assert problem() is None


def test_what_is_no_token_in_the_folder_is_passed_over_and_said(guarded: Guarded) -> None:
    folder = guarded.secret.folder
    (folder / ".hidden").write_text(SECOND)
    (folder / "nested").mkdir()
    (folder / "nested" / "token").write_text(SECOND)
    os.mkfifo(folder / "pipe")  # reading it would wait for ever
    (folder / "huge").write_text("x" * 100_000)
    try:
        eventually(lambda: guarded.server.status()["apiTokens"]["problem"], timeout=10)
        assert guarded.server.status()["apiTokens"]["accepted"] == 1
        assert guarded.ask(FIRST).status_code == 200
        assert guarded.ask(SECOND).status_code == 401
        assert guarded.ask("x" * 100_000).status_code in (401, 431)
    finally:
        for name in (".hidden", "nested/token", "pipe", "huge"):
            (folder / name).unlink()
        (folder / "nested").rmdir()
    eventually(lambda: guarded.server.status()["apiTokens"]["problem"] is None, timeout=10)


def test_tokens_appear_in_no_log_no_metric_no_status_and_no_answer(guarded: Guarded) -> None:
    guarded.secret.hold(one=FIRST, two=SECOND)
    eventually(lambda: guarded.ask(SECOND).status_code == 200, timeout=10)
    wrong = "canary-wrong-77aa"
    answers = [guarded.ask(token, path=path) for token in (FIRST, SECOND, wrong) for path in ("/", "/v1/models", "/x")]
    answers += [guarded.server.post(BODY, f"/{SECOND}?token={wrong}", headers={"Authorization": FIRST})]
    broken = f"GET / HTTP/1.1\r\nAuthorization: Bearer {FIRST}\r\nbroken\x00header\r\n\r\n".encode()
    reply = raw_http.ask(guarded.server.http_port, broken)
    assert reply is not None
    said = "\n".join(
        [*(answer.text + str(answer.headers) for answer in answers), reply.body.decode(), guarded.server.metrics(),
         str(guarded.server.status()), guarded.server.log.read_text()]
    )  # fmt: skip
    assert '"API tokens"' in said
    assert "canary" not in said


def test_without_the_setting_no_token_is_asked_for(classifier: RuntimeServer) -> None:
    assert classifier.post(BODY, headers={"Authorization": "Bearer anything"}).status_code == 200
    assert classifier.status()["apiTokens"] is None
