"""What --help prints: what is required first, then the command's options, then the others under headings."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from samclr.cli.tree import Group, Node, Option

WIDTH, COLUMN = 100, 26
MATTER = (
    *("scenes", "regions", "backbone", "pretrained", "steps"),
    *("global_batch_size", "lr", "size_px", "device", "precision"),
)
HEADINGS = {
    "": "Options",
    "fill": "Working through all images",
    "settings": "Segmenters",
    "vectors": "Vectors",
    "masks": "Masks of a SAM",
    "compute": "Running a SAM",
    "data": "Scenes and regions",
    "filter": "Which regions are used",
    "method": "Method",
    "projector": "Projector",
    "views": "Views",
    "group": "Global views",
    "local": "Local views",
    "augment": "Augmentation",
    "model": "Backbone",
    "anchor": "Anchor",
    "optim": "Optimiser and length of the run",
    "evaluation": "Images of --knn-on",
    "knn": "kNN while training",
    "runtime": "Execution",
    "server": "Where the page is served",
    "interval": "Confidence intervals",
}
OF_EVALUATE = {
    "data": "Images of labelled sets",
    "model": "Backbone of a file of weights",
    "knn": "kNN",
    "linear": "Linear probe",
    "few_shot": "Few-shot probe",
    "crop_probe": "Crop probe",
    "fine_tune": "Fine-tuning",
    "dense": "Dense tasks",
    "multilabel": "Several classes an image",
    "objects": "Objects that find their like",
}
_FACT = re.compile(r"^(Paper|Overrides|Cost|Expected|Example): ")
_NAME = re.compile(r"`?\b([a-z]+(?:_[a-z0-9]+)+)\b`?")


def help_text(node: Node) -> str:
    """The help of a command, at most 100 columns wide."""
    width = max(60, min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH))
    blocks = [_wrapped(f"Usage: {node.command}", _usage(node), width), *_paragraphs(node.text, width)]
    needed = [option for option in node.options if option.is_required]
    blocks += _listed("Required", "", needed, node, width)
    if node.children:
        word = node.child_word.capitalize()
        blocks.append(_table(f"{word}s", [(name, _first(child.text)) for name, child in node.children.items()], width))
    for group in node.groups:
        options = [option for option in group.options if not option.is_required]
        heading = _heading(group, node)
        blocks += _listed(heading, group.text if group.text != f"{heading}." else "", options, node, width)
    if node.child_word == "recipe" and node.children:
        sample = node.children["samclr"]
        chosen = [option for name in MATTER for option in sample.options if option.name == name]
        text = "They follow the recipe. Defaults are those of samclr; samclr pretrain RECIPE --help lists all options."
        blocks += _listed("The ten training options that matter", text, chosen, sample, width)
    others = [("-h, --help", "Show this help."), ("--debug", "Show the traceback of an error.")]
    others += [("--version", "Print the version.")] if len(node.path) == 1 else []
    return "\n\n".join([*blocks, _table("In every command" if len(node.path) > 1 else "Options", others, width)])


def _usage(node: Node) -> str:
    needed = [option for option in node.options if option.is_required]
    words = [option.metavar for option in node.options if option.is_positional and option.is_required]
    words += [f"[{option.metavar}]" for option in node.options if option.is_positional and not option.is_required]
    words += [node.child_word.upper()] if node.children else []
    words += [" ".join((*option.words, option.metavar)) for option in needed if not option.is_positional]
    return " ".join([*words, "[OPTIONS]"])


def _paragraphs(text: str, width: int) -> list[str]:
    """Prose is wrapped; a fact of a recipe begins a line; examples stand as they are."""
    blocks = []
    for paragraph in filter(str.strip, re.split(r"\n\s*\n", text)):
        if paragraph.startswith("Example:"):
            blocks.append(paragraph.rstrip())
            continue
        items: list[str] = []
        for line in paragraph.splitlines():
            if items and not _FACT.match(line):
                items[-1] += f" {line.strip()}"
            else:
                items.append(line.strip())
        blocks.append(
            "\n".join(textwrap.fill(item, width, subsequent_indent="  " * bool(_FACT.match(item))) for item in items)
        )
    return blocks


def _first(text: str) -> str:
    """The first sentence of a description."""
    paragraph = " ".join(re.split(r"\n\s*\n", text)[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


def _heading(group: Group, node: Node) -> str:
    known = HEADINGS | (OF_EVALUATE if "evaluate" in node.path else {})
    return known.get(group.name) or group.name.replace("_", " ").capitalize()


def _listed(heading: str, text: str, options: Sequence[Option], node: Node, width: int) -> list[str]:
    """A heading, what it is about, and its options; nothing without options."""
    if not options:
        return []
    named = {option.name: option.words[0] for option in node.options if not option.is_positional}

    def as_options(prose: str) -> str:
        return _NAME.sub(lambda found: named.get(found[1], found[0]), prose)

    rows = [(_invocation(option), as_options(option.help) + _default(option)) for option in options]
    return [_table(heading, rows, width, as_options(" ".join(text.split())))]


def _invocation(option: Option) -> str:
    return option.metavar if option.is_positional else f"{', '.join(option.words)} {option.metavar}".rstrip()


def _default(option: Option) -> str:
    value = option.default
    if option.is_pair:
        return f" (default: {'on' if value else 'off'})"
    if option.arity == 0 or value is None or value in ((), ""):
        return ""
    shown = " ".join(map(_number, value)) if isinstance(value, tuple) else _number(value)
    return f" (default: {shown})"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) and value != int(value) else str(value)


def _table(heading: str, rows: Iterable[tuple[str, str]], width: int, about: str = "") -> str:
    title = about if about.startswith(f"{heading}:") else f"{heading}: {about}".rstrip()
    lines = [textwrap.fill(title, width, break_on_hyphens=False)]
    for name, text in rows:
        start = f"  {name}".ljust(COLUMN)
        if not start.endswith("  "):
            lines.append(start.rstrip())
            start = " " * COLUMN
        lines.append(_wrapped(start.rstrip(), text, width, COLUMN) if text else start.rstrip())
    return "\n".join(lines)


def _wrapped(start: str, text: str, width: int, column: int | None = None) -> str:
    column = len(start) + 1 if column is None else column
    return textwrap.fill(
        text,
        width,
        initial_indent=start.ljust(column),
        subsequent_indent=" " * column,
        break_on_hyphens=False,
        break_long_words=False,
    )
