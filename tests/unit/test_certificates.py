from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fengsui.errors import SettingsError
from server.certificates import AUTHORITY_LASTS, PAIR_LASTS, RENEW, Authority

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = ("broker", "127.0.0.1")


def keep(folder: Path, now: datetime = NOW, names: tuple[str, ...] = NAMES) -> bool:
    """Ask for the pair once more; True if it was made."""
    authority = Authority.keep(folder, now)
    return authority.keep_pair(folder / "a.crt", folder / "a.key", "a", now, reached_as=names)


def read(path: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_server_is_known_by_its_names_and_a_client_by_its_purpose(tmp_path: Path) -> None:
    """Names and addresses stand in the server's certificate; each serves one purpose and signs nothing."""
    authority = Authority.keep(tmp_path, NOW)
    authority.keep_pair(tmp_path / "s.crt", tmp_path / "s.key", "s", NOW, reached_as=NAMES)
    authority.keep_pair(tmp_path / "c.crt", tmp_path / "c.key", "gw-1", NOW)
    server, client = read(tmp_path / "s.crt"), read(tmp_path / "c.crt")
    found = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["broker"]
    assert found.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]
    usages = [one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for one in (server, client)]
    assert [list(usage) for usage in usages] == [
        [ExtendedKeyUsageOID.SERVER_AUTH], [ExtendedKeyUsageOID.CLIENT_AUTH],
    ]  # fmt: skip
    assert client.subject.rfc4514_string() == "CN=gw-1"
    for one in (server, client):
        one.verify_directly_issued_by(read(tmp_path / "ca.crt"))
        assert not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert one.not_valid_after_utc - NOW == PAIR_LASTS
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_good_pair_is_kept(tmp_path: Path) -> None:
    """Asking again changes nothing, whatever the order of the names."""
    assert keep(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not keep(tmp_path, NOW + PAIR_LASTS - RENEW, NAMES[::-1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_pair_is_renewed_in_time(tmp_path: Path) -> None:
    """With less than 30 days left it is made anew, with a key of its own."""
    keep(tmp_path)
    key = (tmp_path / "a.key").read_bytes()
    assert keep(tmp_path, NOW + PAIR_LASTS - RENEW + timedelta(seconds=1))
    assert (tmp_path / "a.key").read_bytes() != key


@pytest.mark.parametrize("spoil", ["names", "no certificate", "no key", "another key", "another authority"])
def test_a_pair_that_does_not_fit_is_made_anew(tmp_path: Path, spoil: str) -> None:
    """Other names, a missing or foreign half, or another authority: none of them could be used."""
    keep(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    keep(other)
    match spoil:
        case "names":
            assert keep(tmp_path, names=("broker", "alarm.example"))
            return
        case "no certificate":
            (tmp_path / "a.crt").write_text("-----BEGIN")
        case "no key":
            (tmp_path / "a.key").unlink()
        case "another key":
            (other / "a.key").replace(tmp_path / "a.key")
        case _:
            for name in ("ca.key", "ca.crt"):
                (other / name).replace(tmp_path / name)
    assert keep(tmp_path)
    assert not keep(tmp_path)


def test_the_authority_is_renewed_under_its_key(tmp_path: Path) -> None:
    """What it signed before stays good, and who trusts the old certificate trusts what it signs now."""
    Authority.keep(tmp_path, NOW)
    old = read(tmp_path / "ca.crt")
    later = NOW + AUTHORITY_LASTS - PAIR_LASTS + timedelta(days=1)
    assert keep(tmp_path, later)
    new = read(tmp_path / "ca.crt")
    assert new.not_valid_after_utc > old.not_valid_after_utc
    for authority in (old, new):
        read(tmp_path / "a.crt").verify_directly_issued_by(authority)


def test_a_spoiled_authority_is_told_not_replaced(tmp_path: Path) -> None:
    """A new authority would be trusted by no gateway in the field, so a person decides."""
    (tmp_path / "ca.key").write_text("gone\n")
    with pytest.raises(SettingsError, match="restore it from the backup"):
        Authority.keep(tmp_path, NOW)
