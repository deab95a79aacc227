#!/usr/bin/env python3
"""Turns a terminal screen into a picture: `tmux capture-pane -ep` on stdin, SVG on stdout.

    screen_to_svg.py [--title TEXT] [--columns N] [--light] < screen > picture.svg

Every run of characters is put at its own place in the grid, and wide characters stand alone, so
the columns stay straight whatever font the viewer has.
"""

import argparse
import re
import sys
import unicodedata
from dataclasses import dataclass, replace
from html import escape

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 19, 14
PADDING, TITLE_BAR = 16, 34
FOREGROUND, BACKGROUND, FRAME = "#d4d4dc", "#16161e", "#2c2d3c"
FONTS = "ui-monospace,'Cascadia Code','SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace"
# The sixteen colours that a terminal's theme chooses.
THEME = [
    "#3b3d4f", "#f0768b", "#8fce72", "#e3b866", "#74a2f4", "#bb96f5", "#6ecdea", "#bfc3d6",
    "#6b7089", "#ff8f9f", "#a9e28c", "#f4cf85", "#93b8ff", "#d0b0ff", "#93e0f5", "#ffffff",
]
# The same on white paper.
LIGHT = {
    "FOREGROUND": "#24292f", "BACKGROUND": "#ffffff", "FRAME": "#e4e6eb",
    "THEME": [
        "#24292f", "#b3261e", "#1a7331", "#7d5200", "#0b57d0", "#8430a8", "#006a79", "#6e7781",
        "#57606a", "#c4302b", "#2a8a44", "#9a6700", "#2f6fe0", "#a04cc8", "#1a8a9a", "#8c959f",
    ],
}
# What the alternate character set (between SO and SI) stands for.
LINE_DRAWING = str.maketrans("jklmnqtuvwxa~", "┘┐┌└┼─├┤┴┬│▒·")

TOKEN = re.compile(
    r"\x1b\[(?P<sgr>[\d;:]*)m"
    r"|\x1b\[[\d;:?]*[ -/]*[@-~]"  # any other control sequence: of no consequence here
    r"|\x1b\].*?(?:\x07|\x1b\\)"  # links and titles
    r"|\x1b[ -/]*[0-~]"
    r"|(?P<shift>[\x0e\x0f])"
    r"|(?P<text>[^\x1b\x0e\x0f\n]+)",
    re.DOTALL,
)


# Bars are made of these. Fonts disagree about their size, so they are drawn, not written:
# the share of the cell that is filled from the left, and how strongly.
BLOCKS = {chr(0x2588 + at): ((8 - at) / 8, 1.0) for at in range(8)}
BLOCKS |= {"░": (1, 0.25), "▒": (1, 0.5), "▓": (1, 0.75)}
FULL_WIDTH = [char for char, (share, _) in BLOCKS.items() if share == 1]
# Few fonts have powerline's arrow.
ARROW = "\ue0b0"


@dataclass(frozen=True)
class Style:
    foreground: str | None = None
    background: str | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    strike: bool = False
    reverse: bool = False

    def colours(self):
        front, back = self.foreground or FOREGROUND, self.background or BACKGROUND
        if self.reverse:
            front, back = back, front
        if self.dim:
            front = mix(front, back, 0.45)
        return front, back


@dataclass
class Run:
    """Neighbouring cells that are drawn alike."""

    column: int
    style: Style
    text: str
    cells: int


SWITCHES = {1: ("bold", True), 2: ("dim", True), 3: ("italic", True), 4: ("underline", True),
            7: ("reverse", True), 9: ("strike", True), 23: ("italic", False),
            24: ("underline", False), 27: ("reverse", False), 29: ("strike", False)}


def change(style, parameters):
    """Applies one SGR sequence."""
    codes = parameters.split(";")
    while codes:
        # "4:3" is an underline of a certain shape; "38:2::r:g:b" a colour, whole.
        first, *rest = codes.pop(0).split(":")
        code = int(first or 0)
        if code == 0:
            style = Style()
        elif code == 4 and rest[:1] == ["0"]:
            style = replace(style, underline=False)
        elif code in SWITCHES:
            name, value = SWITCHES[code]
            style = replace(style, **{name: value})
        elif code == 22:
            style = replace(style, bold=False, dim=False)
        elif code in (38, 48, 58):
            colour = extended_colour(rest, codes)
            # 58 colours the underline alone, which is drawn in the colour of the text.
            if code != 58:
                side = "foreground" if code == 38 else "background"
                style = replace(style, **{side: colour})
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = replace(style, foreground=THEME[code - 30 if code < 90 else code - 82])
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style = replace(style, background=THEME[code - 40 if code < 100 else code - 92])
        elif code == 39:
            style = replace(style, foreground=None)
        elif code == 49:
            style = replace(style, background=None)
    return style


def extended_colour(joined, codes):
    """5;N or 2;R;G;B: from the same parameter where colons joined it, else from the next ones."""
    if joined:
        numbers = [int(it) for it in joined if it]
        return indexed(numbers[1]) if numbers[0] == 5 else rgb(*numbers[-3:])
    kind = codes.pop(0) if codes else ""
    taken = [int(codes.pop(0) or 0) for _ in range({"5": 1, "2": 3}.get(kind, 0)) if codes]
    if kind == "5" and taken:
        return indexed(taken[0])
    return rgb(*taken) if len(taken) == 3 else None


def indexed(number):
    if number < 16:
        return THEME[number]
    if number >= 232:
        return rgb(*[8 + 10 * (number - 232)] * 3)
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return rgb(steps[number // 36], steps[number // 6 % 6], steps[number % 6])


def rgb(red, green, blue):
    return f"#{red:02x}{green:02x}{blue:02x}"


def mix(colour, other, share):
    """`colour` with this share of `other` in it."""
    pairs = [(int(colour[at:at + 2], 16), int(other[at:at + 2], 16)) for at in (1, 3, 5)]
    return rgb(*(round(a + (b - a) * share) for a, b in pairs))


def clusters(text):
    """Characters with what is drawn over them, and how many cells each takes."""
    out = []
    for char in text:
        zero = unicodedata.category(char) in ("Mn", "Me", "Cf")
        if out and (zero or out[-1][0].endswith("\u200d")):
            before, cells = out[-1]
            # An emoji variant selector makes the character before it wide.
            out[-1] = (before + char, 2 if char == "\ufe0f" else cells)
        elif not zero:
            out.append((char, 2 if unicodedata.east_asian_width(char) in "WF" else 1))
    return out


def parse(screen):
    """The screen as a list of rows of runs. Styles carry over from row to row."""
    style, shifted, rows = Style(), False, []
    for line in screen.split("\n"):
        runs, column = [], 0
        for token in TOKEN.finditer(line):
            if token["sgr"] is not None:
                style = change(style, token["sgr"])
            elif token["shift"]:
                shifted = token["shift"] == "\x0e"
            elif token["text"]:
                text = token["text"].translate(LINE_DRAWING) if shifted else token["text"]
                for char, cells in clusters(text):
                    add(runs, column, style, char, cells)
                    column += cells
        rows.append(runs)
    while rows and not any(it.text.strip() or it.style.background for it in rows[-1]):
        rows.pop()
    return rows


def add(runs, column, style, char, cells):
    last = runs[-1] if runs else None
    # A font that lacks a character borrows it from another, of another width: outside of plain
    # text every character is placed on its own.
    alike = char.isascii() and last and last.text.isascii()
    # Bars are drawn in one piece, without seams.
    alike = alike or (char in FULL_WIDTH and last and last.text[-1] == char)
    if last and last.style == style and alike:
        last.text += char
        last.cells += cells
    else:
        runs.append(Run(column, style, char, cells))


def draw(rows, title, columns):
    columns = columns or max((run.column + run.cells for runs in rows for run in runs), default=1)
    width = number(columns * CELL_WIDTH + 2 * PADDING)
    height = number(len(rows) * CELL_HEIGHT + TITLE_BAR + 2 * PADDING)
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">')
    yield f"<title>{escape(title)}</title>"
    yield (f'<rect x="0.5" y="0.5" width="{number(float(width) - 1)}" '
           f'height="{number(float(height) - 1)}" rx="9" fill="{BACKGROUND}" stroke="{FRAME}"/>')
    yield (f'<path d="M1 {TITLE_BAR}V10a9 9 0 0 1 9-9H{number(float(width) - 10)}'
           f'a9 9 0 0 1 9 9V{TITLE_BAR}z" fill="{FRAME}"/>')
    for at, colour in enumerate(("#f0768b", "#e3b866", "#8fce72")):
        yield f'<circle cx="{20 + 20 * at}" cy="17.5" r="6" fill="{colour}"/>'
    yield (f'<text x="{number(float(width) / 2)}" y="22" text-anchor="middle" fill="#9a9db5" '
           f'font-family="{FONTS}" font-size="13">{escape(title)}</text>')
    yield f'<g font-family="{FONTS}" font-size="{FONT_SIZE}">'
    for nth, runs in enumerate(rows):
        top = TITLE_BAR + PADDING + nth * CELL_HEIGHT
        for run in runs:
            yield from draw_run(run, top)
    yield "</g>\n</svg>"


def draw_run(run, top):
    x, width = number(PADDING + run.column * CELL_WIDTH), number(run.cells * CELL_WIDTH)
    front, back = run.style.colours()
    if back != BACKGROUND:
        yield (f'<rect x="{x}" y="{top}" width="{width}" height="{CELL_HEIGHT}" fill="{back}" '
               f'shape-rendering="crispEdges"/>')
    decoration = " ".join(name for name, on in (
        ("underline", run.style.underline), ("line-through", run.style.strike)) if on)
    if not decoration:
        # Renderers disagree about spaces at the ends: there shall be none.
        bare = run.text.strip(" ")
        if not bare:
            return
        column = run.column + len(run.text) - len(run.text.lstrip(" "))
        cells = run.cells - (len(run.text) - len(bare))
        run = Run(column, run.style, bare, cells)
        x, width = number(PADDING + run.column * CELL_WIDTH), number(run.cells * CELL_WIDTH)
    if run.text[0] == ARROW:
        left, right = PADDING + run.column * CELL_WIDTH, PADDING + (run.column + 1) * CELL_WIDTH
        yield (f'<path d="M{number(left)} {top}L{number(right)} {number(top + CELL_HEIGHT / 2)}'
               f'L{number(left)} {top + CELL_HEIGHT}z" fill="{front}"/>')
        return
    if run.text[0] in BLOCKS:
        share, strength = BLOCKS[run.text[0]]
        yield (f'<rect x="{x}" y="{top + 2}" width="{number(CELL_WIDTH * run.cells * share)}" '
               f'height="{CELL_HEIGHT - 5}" fill="{front}" fill-opacity="{strength}"/>')
        return
    more = ' font-weight="bold"' if run.style.bold else ""
    more += ' font-style="italic"' if run.style.italic else ""
    more += f' text-decoration="{decoration}"' if decoration else ""
    # The length holds the grid where the viewer's font, or the one that a missing character comes
    # from, is wider or narrower. A wide character would be stretched, and has its own place anyway.
    if len(run.text) > 1 or (run.cells == 1 and not run.text.isascii()):
        more += f' textLength="{width}" lengthAdjust="spacingAndGlyphs"'
    # SVG would join spaces; these it keeps.
    text = escape(run.text.replace(" ", "\u00a0"))
    yield f'<text x="{x}" y="{top + 14}" fill="{front}"{more}>{text}</text>'


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--title", default="ccstatusd")
    parser.add_argument("--columns", type=int, help="width of the terminal (default: the longest row)")
    parser.add_argument("--light", action="store_true", help="a light terminal")
    options = parser.parse_args()
    if options.light:
        globals().update(LIGHT)
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    sys.stdout.reconfigure(encoding="utf-8")
    for line in draw(parse(sys.stdin.read()), options.title, options.columns):
        print(line)


if __name__ == "__main__":
    main()
