"""The HTML pages' templates."""

from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """Fill a template of pages/templates; a value that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("samclr.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)
