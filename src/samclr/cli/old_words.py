"""Words of 0.1 that still mean something: options of `pretrain` that have another name since 0.2."""

from samclr.cli.parse import RENAMED
from samclr.config.devices import OLD_DEVICES, OLD_PRECISIONS
from samclr.log import say

OPTIONS = {f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in RENAMED.items()}
VALUES = {"--device": OLD_DEVICES, "--precision": OLD_PRECISIONS}


def renewed(given: list[str]) -> list[str]:
    """A command's words as those of today; a remark says which were replaced."""
    if given[:1] != ["pretrain"]:
        return given
    words, replaced = list[str](), dict[str, str]()
    for word in given:
        option, equals, value = word.partition("=")
        new = OPTIONS.get(option.replace("_", "-"), option)
        if equals:
            new = f"{new}={VALUES.get(new, {}).get(value, value)}"
        elif words:
            new = VALUES.get(words[-1], {}).get(word, new)
        if new != word:
            replaced[word] = new
        words.append(new)
    if replaced:
        listed = ", ".join(f"{old} is {new}" for old, new in replaced.items())
        say(f"renamed in 0.2: {listed}; the old words work until 0.3")
    return words
