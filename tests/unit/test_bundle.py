"""The failure bundle holds the evidence and none of its secrets."""

import json
import tarfile

import anyio
import pytest

from nodes.errors import UsageError
from nodes.peer.config import KEY_LOG
from orchestrator.bundle import bundle
from orchestrator.bundle.secrets import REDACTED, without_secrets

SECRET = "Zm9vYmFyYmF6cXV4LXNlY3JldA"


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    async def nothing():
        return {"findings": []}

    monkeypatch.setattr(bundle, "examine", nothing)
    folder = tmp_path / "run"
    for name, content in {
        "run.json": json.dumps({"command_line": "hopbed run tunnel --seed 1"}).encode(),
        "timeline.jsonl": json.dumps({"kind": "x", "data": {"secret": SECRET}}).encode(),
        "captures/bridge.pcapng": b"\x0a\x0d\x0d\x0a secret=0123456789abcdef",
        "nodes/peer-a/charon.log": b"00[IKE] up\n",
        f"nodes/peer-a/{KEY_LOG}": SECRET.encode(),
        "nodes/peer-a/udp-a-b.sent": b"\xff\xfe",
        "keys/esp_sa": SECRET.encode(),
        ".unborn": b"half",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def packed(path):
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }


def test_a_bundle_holds_the_evidence_the_machine_and_a_word_about_both(evidence):
    path = anyio.run(bundle.write_bundle, evidence)
    assert path == evidence / bundle.BUNDLE
    found = packed(path)
    assert set(found) == {
        "README.txt", "machine.json", "run.json", "timeline.jsonl", "captures/bridge.pcapng",
        "nodes/peer-a/charon.log", "nodes/peer-a/udp-a-b.sent",
    }  # fmt: skip
    assert b"hopbed run tunnel --seed 1" in found["run.json"]
    assert found["nodes/peer-a/udp-a-b.sent"] == b"\xff\xfe"
    assert found["captures/bridge.pcapng"].startswith(b"\x0a\x0d\x0d\x0a")


def test_no_key_and_no_secret_is_in_it(evidence):
    content = b"".join(packed(anyio.run(bundle.write_bundle, evidence)).values())
    assert SECRET.encode() not in content
    assert REDACTED.encode() in content


def test_a_second_bundle_does_not_hold_the_first(evidence):
    anyio.run(bundle.write_bundle, evidence)
    assert bundle.BUNDLE not in packed(anyio.run(bundle.write_bundle, evidence))


def test_a_file_that_is_too_large_is_named_and_left_out(evidence, monkeypatch):
    monkeypatch.setattr(bundle, "LARGEST", 20)
    found = packed(anyio.run(bundle.write_bundle, evidence))
    assert "captures/bridge.pcapng" not in found
    assert b"captures/bridge.pcapng: 28 octets" in found["README.txt"]


def test_a_folder_without_a_run_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"there is no run\.json in it"):
        anyio.run(bundle.write_bundle, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f'"secret": "{SECRET}"',
        f"secret = {SECRET}",
        f"psk: '{SECRET}'",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n(cut short",
        f"\tenc cbc(aes) 0x{SECRET.encode().hex()}",
        f"\taead rfc4106(gcm(aes)) 0x{SECRET.encode().hex()} 128",
        f"\tauth-trunc hmac(sha256) 0x{SECRET.encode().hex()} 128",
        f"00[IKE] SKEYID => 26 bytes @ 0x7f00\n00[IKE]    0: {SECRET.encode().hex(' ').upper()}  x\n",
    ],
)
def test_what_looks_like_a_secret_is_left_out_of_text(text):
    left = without_secrets(f"before\n{text}\nafter\n")
    assert SECRET not in left
    assert SECRET.encode().hex() not in left.lower().replace(" ", "")
    assert REDACTED in left
    assert left.startswith("before\n")


@pytest.mark.parametrize(
    "text",
    ["key exchange done", "SPI c0ffee00 installed", "AES_GCM_16-128/ECP_256", "key: short", "=> 3 bytes"],
)
def test_other_text_stays_as_it_is(text):
    assert without_secrets(text) == text
