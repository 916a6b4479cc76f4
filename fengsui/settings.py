"""Settings: one TOML file per process into frozen models, all of it checked before the first socket opens.

Each process keeps its model in its own ``config.py``, named ``Settings``: frozen ``msgspec.Struct`` blocks
with ``forbid_unknown_fields=True``. In a file, a path (a field of type ``Path``) is relative to the file
itself, and a secret is the *name of a file* that holds it (``password_file``), never the secret; the model
holds the secret already read, as a field of type ``Secret`` that hides itself in ``repr``.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import ssl
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, inspect

from fengsui.errors import SettingsError

T = TypeVar("T")

Port = Annotated[int, Meta(ge=1, le=65535)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
"""A gateway or device name, equal to its user at the broker."""

PROCESSES = ("gateway", "core", "console")

_PLACEHOLDERS = frozenset(
    {"change-me", "changeme", "change_me", "password", "secret", "example", "admin", "todo"}
)
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list [...]",
    "object": "a table",
    "null": "nothing",
}


class Secret:
    """A password or key; it shows itself only to who asks by ``reveal``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(hidden)"


class Tls(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Certificates of one socket, PEM; the peer is always verified against ``ca_file``."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def context(self, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> ssl.SSLContext:
        """A TLS 1.2+ context with our certificate.

        Raises:
            SettingsError: A file is missing or is no PEM certificate or key.
        """
        for path in (self.ca_file, self.cert_file, self.key_file):
            if not path.is_file():
                raise SettingsError(path, "no such file; the tls block needs ca_file, cert_file and key_file")
        try:
            context = ssl.create_default_context(purpose, cafile=str(self.ca_file))
            context.load_cert_chain(self.cert_file, self.key_file)
        except ssl.SSLError as error:
            raise SettingsError(
                self.cert_file, f"not usable with its ca_file and key_file: {error}"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class Broker(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where the MQTT broker is and who we are there."""

    host: str = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password: Secret | None = msgspec.field(name="password_file", default=None)
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if self.tls is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host!r} is not this machine, so a tls block is needed")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password_file belong together: give both or none")


def is_loopback(host: str) -> bool:
    """Whether ``host`` never leaves this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load(path: Path, type_: type[T]) -> T:
    """Read a settings file into ``type_``.

    Raises:
        SettingsError: The file cannot be read, is not TOML, or does not fit; the text names the key and
            what to do.
    """
    return fit(path, read_toml(path), type_)


def read_toml(path: Path) -> dict[str, object]:
    """The file as TOML tables.

    Raises:
        SettingsError: There is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        text = "no such file; `fengsui check-config --sample gateway|core|console` prints one to start from"
        raise SettingsError(path, text) from error
    except OSError as error:
        raise SettingsError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(path, f"not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, f"not TOML: {error}") from error


def fit(path: Path, tables: dict[str, object], type_: type[T]) -> T:
    """Turn TOML tables into ``type_``; ``path`` is where they came from.

    Raises:
        SettingsError: A key is unknown or missing, or its value does not fit.
    """

    def decode(kind: type, value: object) -> object:
        if not isinstance(value, str):
            raise TypeError("Expected `str`")
        if kind is Path:
            return path.parent / value
        if kind is Secret:
            return read_secret(path.parent / value)
        raise NotImplementedError(f"no way to read a {kind.__name__} from a settings file")

    try:
        return msgspec.convert(tables, type_, dec_hook=decode)
    except msgspec.ValidationError as error:
        raise SettingsError(path, explain(str(error), type_)) from error


def read_secret(path: Path) -> Secret:
    """Read a secret of one line.

    Raises:
        SettingsError: Missing, empty, readable by everybody, of several lines, or a placeholder nobody
            replaced.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError as error:
        raise SettingsError(path, "no such file; put the secret in it, readable by its owner only") from error
    except OSError as error:
        raise SettingsError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(path, "a secret is one line of text, this is not text") from error
    if mode & 0o007:
        raise SettingsError(path, f"everybody on this machine can open this secret; run: chmod 600 {path}")
    if not text:
        raise SettingsError(path, "is empty; put the secret in it")
    if not text.isprintable():
        raise SettingsError(path, "a secret is one line of printable text")
    if text.lower().strip("<>") in _PLACEHOLDERS:
        raise SettingsError(path, "still holds the placeholder; put a secret of your own in it")
    return Secret(text)


def sample(process: str) -> str:
    """The commented sample file of ``gateway``, ``core`` or ``console``."""
    return (resources.files("fengsui") / "samples" / f"{process}.toml").read_text(encoding="utf-8")


def explain(message: str, type_: type) -> str:
    """What a ``msgspec.ValidationError`` says, in the reader's words: the key in full, near misses named."""
    text, _, at = message.partition(" - at `$")
    keys = re.findall(r"[^.\[\]`]+|\[\d+\]|\[\.\.\.\]", at)

    def name(*more: str) -> str:
        return ".".join((*keys, *more)).replace(".[...]", ".*").replace(".[", "[")

    if found := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        known = _known_keys(type_, keys)
        near = difflib.get_close_matches(found[1], known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return f"unknown key `{name(found[1])}`; {hint}"
    if found := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"key `{name(found[1])}` is missing; add it"
    if found := re.fullmatch(r"Expected `str` matching regex .*", text):
        return f"key `{name()}`: only letters, digits, `_` and `-`, at most 64 of them"
    text = re.sub(r"`(\w+(?: \| \w+)*)`", _in_words, text)
    text = text.replace("Expected", "expected").replace("Invalid", "invalid")
    return f"key `{name()}`: {text}" if keys else text


def _in_words(types: re.Match[str]) -> str:
    """Types as msgspec names them, such as ``float | array | null``."""
    names = types[1].split(" | ")
    wanted = [name for name in names if name != "null"] or names
    if any(name not in _WORDS for name in wanted):
        return types[0]
    return " or ".join(_WORDS[name] for name in wanted)


def _known_keys(type_: type, keys: list[str]) -> list[str]:
    """Keys that the model knows in the table at ``keys``."""
    tables: list[inspect.Type] = [inspect.type_info(type_)]
    for key in keys:
        below: list[inspect.Type] = []
        for table in tables:
            if isinstance(table, inspect.StructType):
                below += [field.type for field in table.fields if field.encode_name == key]
            elif isinstance(table, inspect.DictType):
                below.append(table.value_type)
            elif isinstance(table, inspect.ListType | inspect.VarTupleType):
                below.append(table.item_type)
        tables = [one for table in below for one in _members(table)]
    structs = [table for table in tables if isinstance(table, inspect.StructType)]
    tags = [struct.tag_field for struct in structs if struct.tag_field is not None]
    return sorted({*tags, *(field.encode_name for struct in structs for field in struct.fields)})


def _members(table: inspect.Type) -> tuple[inspect.Type, ...]:
    return table.types if isinstance(table, inspect.UnionType) else (table,)
