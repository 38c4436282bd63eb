"""All public signatures as text, one a line: functions, classes, and their public methods and fields."""

import dataclasses
import inspect
import re

import samclr

FACES = {
    "samclr": samclr,
    "samclr.losses": samclr.losses,
    "samclr.methods": samclr.methods,
    "samclr.evaluation": samclr.evaluation,
    "samclr.config": samclr.config,
}


def signatures() -> str:
    """Sorted lines; annotations as they are written, defaults as they are shown."""
    lines = []
    for face, module in FACES.items():
        for name in sorted(module.__all__):
            lines += _lines(f"{face}.{name}", getattr(module, name))
    return "".join(f"{line}\n" for line in lines)


def _lines(name, value):
    if not inspect.isclass(value):
        return [f"{name}{_signature(value)}"] if callable(value) else [name]
    if dataclasses.is_dataclass(value):
        fields = [f"{name}.{field.name}: {_type(field.type)}{_default(field)}" for field in dataclasses.fields(value)]
        head = [name, *fields]
    else:
        head = [f"{name}{_signature(value.__init__)}" if "__init__" in vars(value) else name]
    own = {
        key: one for key, one in vars(value).items() if not key.startswith("_") or key in ("__call__", "__getitem__")
    }
    methods = []
    for key, one in sorted(own.items()):
        function = getattr(one, "__func__", getattr(one, "fget", None) or getattr(one, "func", one))
        if inspect.isfunction(function):
            kind = ": property" if not callable(getattr(value, key)) else ""
            methods.append(f"{name}.{key}{kind}" if kind else f"{name}.{key}{_signature(function)}")
    return head + methods


def _signature(function):
    signature = inspect.signature(inspect.unwrap(function))
    parts = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        note = "" if parameter.annotation is parameter.empty else f": {_type(parameter.annotation)}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parts.append(f"{prefix}{parameter.name}{note}{default}")
    back = "" if signature.return_annotation is signature.empty else f" -> {_type(signature.return_annotation)}"
    return f"({', '.join(parts)}){back}"


def _default(field):
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return "" if field.default_factory is dataclasses.MISSING else " = ..."


def _type(annotation):
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"(typing\.)?Annotated\[((?:[^\[\]]|\[[^\]]*\])*?), Bounds\([^)]*\)\]", r"\2", text)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", text).replace("ndarray", "np.ndarray")


if __name__ == "__main__":
    print(signatures(), end="")
