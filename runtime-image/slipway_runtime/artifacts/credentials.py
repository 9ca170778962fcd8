"""Credentials of a source, from a file or a folder of files as Kubernetes mounts a Secret. Read anew at every attempt.

Nothing here is ever logged or put into a message; messages name the file and the keys.
"""

from __future__ import annotations

import base64
import binascii
import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway_runtime.errors import ModelFault

PARAM = "model.tokenSecretRef"
_DOCKER_KEYS = (".dockerconfigjson", "config.json")
# Spelled as in the Secrets that people have: Kubernetes' own, AWS's variables, AWS's credentials file.
_ACCESS = ("accessKeyId", "AWS_ACCESS_KEY_ID", "aws_access_key_id")
_SECRET = ("secretAccessKey", "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key")
_SESSION = ("sessionToken", "AWS_SESSION_TOKEN", "aws_session_token")
_AWS_KEYS = (*_ACCESS, *_SECRET, *_SESSION)


@dataclass(frozen=True, repr=False)
class AwsKeys:
    """Of an S3-compatible server."""

    access: str
    secret: str
    session: str | None


def read_secret(path: str, *keys: str) -> str:
    """The text of a file, or of the first of `keys` in a folder; "" where none is set.

    A file that is named but missing is a fault: the pod's Secret is wrong.
    """
    if not path:
        return ""
    place = Path(path)
    try:
        if place.is_dir():
            place = next((place / key for key in keys if (place / key).is_file()), place / keys[0])
        return place.read_text().strip()
    except OSError as error:
        raise _unreadable(place, error.strerror or type(error).__name__) from None
    except UnicodeDecodeError:
        raise _unreadable(place, "it is not UTF-8 text") from None


def read_aws(path: str) -> AwsKeys | None:
    """A folder with accessKeyId and secretAccessKey, or a file: JSON with these keys, or AWS's credentials format."""
    if not path:
        return None
    place = Path(path)
    if place.is_dir():
        found: Mapping[str, str] = {key: read_secret(path, key) for key in _AWS_KEYS if (place / key).is_file()}
    else:
        found = _aws_file(read_secret(path))
    access, secret = _first(found, _ACCESS), _first(found, _SECRET)
    if not access or not secret:
        raise ModelFault(
            "ModelGated",
            f"{path} holds no accessKeyId and secretAccessKey: it must be a folder with these two files, or a file "
            "with them as JSON or in the format of AWS's credentials file",
            PARAM,
        )
    return AwsKeys(access, secret, _first(found, _SESSION) or None)


def _aws_file(text: str) -> Mapping[str, str]:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(text if text.startswith("[") else f"[default]\n{text}")
        except configparser.Error:
            return {}
        name = "default" if parser.has_section("default") else next(iter(parser.sections()), "")
        return dict(parser[name]) if name else {}
    return {key: str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _first(found: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((found[key] for key in keys if found.get(key)), "")


def read_docker(path: str, registry: str) -> tuple[str, str] | None:
    """(user, password) for a registry from Docker's config.json: a file, or the key .dockerconfigjson of a folder.

    Helper programs, which such a file may name, are never run.
    """
    text = read_secret(path, *_DOCKER_KEYS)
    if not text:
        return None
    try:
        auths: Any = orjson.loads(text)["auths"]
        entries = {_host(name): entry for name, entry in auths.items()}
        entry = entries.get(_host(registry))
        if entry is None:
            return None
        if entry.get("auth"):
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            return user, password
        return str(entry["username"]), str(entry["password"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, binascii.Error, UnicodeDecodeError):
        raise ModelFault(
            "ModelGated",
            f'{path} is not Docker\'s config.json with "auths" and, per registry, "auth" or "username" and "password"',
            PARAM,
        ) from None


def _host(name: str) -> str:
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def fingerprint(path: str) -> object:
    """Changes when the file, or a file of the folder, changes."""
    place = Path(path)
    try:
        if not path or not place.is_dir():
            return place.read_bytes() if path else None
        return {file.name: file.read_bytes() for file in sorted(place.iterdir()) if file.is_file()}
    except OSError:
        return None


def _unreadable(place: Path, why: str) -> ModelFault:
    return ModelFault(
        "ModelGated",
        f"the token file {place} cannot be read ({why}): check that the Secret of {PARAM} has the key",
        PARAM,
    )
