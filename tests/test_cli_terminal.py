import io

from facerestore.cli.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self):
        return True


def opened(monkeypatch, columns=60):
    """One terminal behind standard output and standard error; opened in a test, as pytest sets these before it."""
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    return screen


def test_lines_are_printed_above_the_bar_and_not_into_it(monkeypatch):
    screen = opened(monkeypatch)
    terminal = Terminal()
    with terminal.steps(2) as begin:
        begin("one.jpg")
        terminal.say("one.jpg: 1 face")
        terminal.warn("error: two.jpg")
        begin("two.jpg")
    terminal.say("2 photos")
    erased = "\r\x1b[2K"
    shown = screen.getvalue()
    assert f"{erased}one.jpg: 1 face\n" in shown
    assert f"{erased}facerestore: error: two.jpg\n" in shown
    assert shown.endswith("2 photos\n")


def test_a_long_line_is_left_whole_for_the_terminal_to_wrap(monkeypatch):
    screen = opened(monkeypatch)
    line = "a very long album/" * 6 + "photo.jpg: no face -> elsewhere.jpg"
    terminal = Terminal()
    with terminal.steps(1):
        terminal.say(line)
    assert line in screen.getvalue()


def test_names_of_files_are_not_read_as_markup(monkeypatch):
    screen = opened(monkeypatch)
    terminal = Terminal()
    with terminal.steps(1) as begin:
        begin("[/b] :smile: [red].jpg")
        terminal.say("[/b] :smile: [red].jpg: no face")
    assert "[/b] :smile: [red].jpg: no face\n" in screen.getvalue()
    assert "[/b] :smile: [red].jpg \x1b" in screen.getvalue()


def test_no_bar_is_drawn_where_nobody_looks(capsys):
    with Terminal().steps(1) as begin:
        begin("one.jpg")
    assert capsys.readouterr().err == ""
