"""The node image's sources, their hash, the build context made of them, and the wheels that go with it."""

from __future__ import annotations

import io
import itertools
import sys
import tarfile
from pathlib import Path

import pytest

from nodes import errors
from orchestrator.image.content import LOCK, ROOT, Source, build_context, content_hash, sources, tag
from orchestrator.image.wheels import download_command, wheel_key

A = Source("nodes/a.py", b"a")
B = Source("nodes/b.py", b"b")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the image's files and two modules."""
    for path in ("images/Dockerfile", LOCK, "images/hopbed-node", "images/install-packages.sh"):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(path)
    (tmp_path / "images/hopbed-node").chmod(0o755)
    (tmp_path / "nodes/peer").mkdir(parents=True)
    (tmp_path / "nodes/agent.py").write_text("agent")
    (tmp_path / "nodes/peer/role.py").write_text("role")
    return tmp_path


def test_hash_is_that_of_the_same_sources_in_any_order():
    assert content_hash([A, B]) == content_hash([B, A])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param([A], id="a file gone"),
        pytest.param([A, Source("nodes/b.py", b"B")], id="a content"),
        pytest.param([A, Source("nodes/c.py", b"b")], id="a name"),
        pytest.param([A, Source("nodes/b.py", b"b", executable=True)], id="an executable bit"),
        pytest.param([Source("nodes/a.py", b"anodes/b.py\x000\x001\x00b")], id="two files run into one"),
    ],
)
def test_hash_changes_with(changed: list[Source]):
    assert content_hash(changed) != content_hash([A, B])


def test_sources_are_the_image_s_files_and_all_of_nodes(checkout: Path):
    assert [source.path for source in sources(checkout)] == [
        "images/Dockerfile",
        "images/requirements.lock",
        "images/hopbed-node",
        "images/install-packages.sh",
        "nodes/agent.py",
        "nodes/peer/role.py",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "nodes/__pycache__/agent.cpython-311.pyc",
        "nodes/.agent.py.swp",
        "nodes/agent.py~",
        "orchestrator/cli.py",
        "README.md",
    ],
)
def test_what_the_image_does_not_hold_does_not_change_the_hash(checkout: Path, path: str):
    before = content_hash(sources(checkout))
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("other")
    assert content_hash(sources(checkout)) == before


def test_a_new_module_in_nodes_changes_the_hash(checkout: Path):
    before = content_hash(sources(checkout))
    (checkout / "nodes/peer/vici.py").write_text("new")
    assert content_hash(sources(checkout)) != before


def test_sources_of_a_folder_that_is_no_checkout_are_a_machine_error(tmp_path: Path):
    with pytest.raises(errors.MachineError, match="built from a checkout"):
        sources(tmp_path)


def test_every_file_that_the_dockerfile_copies_is_a_source():
    held = {source.path for source in sources()}
    copies = [
        line.split()[1:-1]
        for line in (ROOT / "images/Dockerfile").read_text().splitlines()
        if line.startswith("COPY")
    ]
    copied = [path for paths in copies for path in paths if not path.startswith("images/build/")]
    assert copied
    for path in copied:
        assert path in held or any(source.startswith(path) for source in held), path


def test_context_holds_the_sources_with_their_contents_and_executable_bits(checkout: Path):
    with tarfile.open(fileobj=io.BytesIO(build_context(sources(checkout)))) as archive:
        found = {entry.name: (archive.extractfile(entry).read(), entry.mode) for entry in archive}
    assert found["nodes/agent.py"] == (b"agent", 0o644)
    assert found["images/hopbed-node"] == (b"images/hopbed-node", 0o755)
    assert len(found) == len(sources(checkout))


def test_context_of_the_same_sources_is_the_same_octets(checkout: Path):
    first = build_context(sources(checkout))
    (checkout / "nodes/agent.py").write_text("agent")  # a new modification time
    assert build_context(reversed(sources(checkout))) == first


def test_a_release_that_the_image_is_not_made_of_is_an_error_that_names_those_it_is():
    with pytest.raises(errors.ParameterError, match=r"'sid'.*bookworm, trixie"):
        tag("sid")


@pytest.mark.parametrize(
    "other", [(b"lock2", "bookworm", "amd64"), (b"lock", "trixie", "amd64"), (b"lock", "bookworm", "arm64")]
)
def test_wheels_are_those_of_one_lock_release_and_architecture(other: tuple[bytes, str, str]):
    assert wheel_key(*other) != wheel_key(b"lock", "bookworm", "amd64")


def test_wheels_are_downloaded_for_the_python_and_architecture_of_the_image():
    command = download_command(Path("l"), Path("f"), "trixie", "arm64")
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert command[command.index("--python-version") + 1] == "3.13"
    platforms = [word for before, word in itertools.pairwise(command) if before == "--platform"]
    assert platforms
    assert all(platform.endswith("_aarch64") for platform in platforms)
    assert {"--require-hashes", "--only-binary=:all:"} <= set(command)


@pytest.mark.parametrize("lock", ["requirements.lock", LOCK])
def test_a_lock_pins_every_package_by_hash_and_names_no_index(lock: str):
    text = (ROOT / lock).read_text()
    lines = text.replace("\\\n", "").splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements
    for requirement in requirements:
        assert "==" in requirement
        assert "--hash=sha256:" in requirement
    assert "://" not in text
    assert "--index" not in text
    assert "--extra-index" not in text


def test_the_image_has_the_same_versions_as_the_host():
    def pins(lock: str) -> set[str]:
        return {line.split()[0] for line in (ROOT / lock).read_text().splitlines() if "==" in line}

    assert pins(LOCK) <= pins("requirements.lock")
