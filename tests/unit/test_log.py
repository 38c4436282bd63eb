"""Names from anywhere reach the terminal as text, never as what it obeys."""

import pytest

from samclr.log import (
    LOGGER,
    fail,
    option_of,
    printable,
    remarks_are_shown,
    remarks_on_stderr,
    say,
    say_once,
    show,
    show_table,
    tell,
)

HOSTILE = "a\x1b[2J\x1b]0;title\x07\nb\r\u202egpj.exe\u2066\x9b31m\udce9"
SAFE = r"a\x1b[2J\x1b]0;title\x07\nb\r\u202egpj.exe\u2066\x9b31m\udce9"


def test_what_a_terminal_obeys_is_shown_as_its_escape():
    assert printable(HOSTILE) == SAFE
    assert printable("plain caf\u00e9 \u732b {x}") == "plain caf\u00e9 \u732b {x}"


@pytest.mark.parametrize("write", [say, say_once, show, lambda text: fail(text, False)])
def test_every_way_to_the_terminal_escapes(write, capsys):
    write(HOSTILE)
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert SAFE in text
    assert text.count("\n") == 1
    assert all(one.isprintable() for one in text.rstrip("\n"))


def test_tables_show_names_as_they_are(capsys):
    show_table(HOSTILE, [{"name": HOSTILE, "[bold]": "[/red] [link=x]y"}])
    text = capsys.readouterr().out
    assert "[/red] [link=x]y" in text
    assert "[bold]" in text
    assert all(one.isprintable() for line in text.splitlines() for one in line)


def test_a_remark_is_made_once_and_by_the_first_rank(capsys, monkeypatch):
    for _ in range(2):
        say_once("said one time alone")
    monkeypatch.setenv("LOCAL_RANK", "1")
    say_once("said by another rank")
    assert capsys.readouterr().err == "said one time alone\n"


def test_the_library_logs_and_does_not_print(capsys, caplog):
    with remarks_on_stderr():
        LOGGER.handlers.clear()
        LOGGER.propagate = True
        assert not remarks_are_shown()
        say(f"{option_of('bank_on')} is seen by default")
        tell("seen when asked for")
        assert capsys.readouterr() == ("", "")
        with remarks_on_stderr():
            say(f"{option_of('bank_on')} is an option at the command line")
            tell("and what goes on is shown")
        say("not shown after it")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "`bank_on` is seen by default"),
        ("INFO", "seen when asked for"),
        ("WARNING", "not shown after it"),
    ]
    assert capsys.readouterr().err == "--bank-on is an option at the command line\nand what goes on is shown\n"


def test_a_name_of_a_user_is_never_taken_for_a_setting(capsys, call, tmp_path):
    folder = tmp_path / "a `bank_on` and `out` of mine"
    folder.mkdir()
    with remarks_on_stderr():
        say(f"{folder}: name another {option_of('out')}")
    assert capsys.readouterr().err == f"{folder}: name another --out\n"
    for arguments in (("pack", folder), ("regions", "stats", folder), ("evaluate", folder, "--on", folder)):
        said = call(*arguments)[2]
        assert str(folder) in said
        assert "--bank-on" not in said


def test_names_reach_a_log_as_text_too(caplog):
    with caplog.at_level("INFO", logger="samclr"):
        say("a\nforged line \x1b[2J \udcff")
        tell("and\rthis")
    assert [record.getMessage() for record in caplog.records] == ["a\\nforged line \\x1b[2J \\udcff", "and\\rthis"]
