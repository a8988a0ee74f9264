"""The tables in docs/reliability.md: the tools that measure write them, each into its own place."""

import pytest
from table_in_docs import PAGE, command_of, made_by, write_table

NAMES = (
    "kill-matrix",
    "isolation",
    "suite-under-load",
    *(f"{what}-{runtime}" for what in ("soak-cycles", "soak") for runtime in ("namespaces", "docker")),
)


def test_a_table_takes_the_place_of_the_one_before_and_leaves_the_rest(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- x -->\nold\n<!-- /x -->\nbetween\n<!-- y -->\n<!-- /y -->\nend\n")
    write_table("x", "| new |", page)
    write_table("y", "| other |", page)
    write_table("x", "| newer |", page)
    assert page.read_text() == (
        "# A\n<!-- x -->\n\n| newer |\n\n<!-- /x -->\nbetween\n<!-- y -->\n\n| other |\n\n<!-- /y -->\nend\n"
    )


def test_a_table_without_a_place_is_an_error_and_changes_nothing(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- x -->\nold\n")
    with pytest.raises(ValueError, match="no place for x"):
        write_table("x", "| new |", page)
    assert page.read_text() == "<!-- x -->\nold\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_a_place_for_every_table(name):
    text = PAGE.read_text()
    assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->") == 1


def test_a_table_says_the_command_with_its_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["tool", "--repeat", "5"])
    assert made_by(command_of("kill-matrix")).endswith("`make kill-matrix ARGS='--repeat 5'`")
