"""Tools of systems that nobody has published: made from lists, to fill a catalogue with near misses."""

from typing import Any

SYSTEMS = {
    "erp": ("invoice", "purchase order", "supplier", "stock item"),
    "hr": ("employee", "leave request", "payslip", "job applicant"),
    "helpdesk": ("support ticket", "help article", "canned reply"),
    "clinic": ("patient", "appointment", "prescription"),
    "hotel": ("reservation", "guest", "room rate"),
    "fleet": ("vehicle", "driver", "delivery route"),
    "school": ("student", "course", "exam grade"),
    "factory": ("machine", "work order", "sensor alarm"),
    "bank": ("bank transfer", "credit card", "loan application"),
    "cctv": ("camera", "video clip"),
}
"""Each with what it keeps records of."""

ACTIONS = {
    "list_{}s": ("Returns one page of {}s, newest first", ("page", "page_size", "sort_by")),
    "search_{}s": ("Full-text search over all {}s", ("query", "filters", "limit")),
    "get_{}": ("Returns one {} with all of its fields", ("{}_id", "fields")),
    "create_{}": ("Creates a {} and returns its id", ("fields", "idempotency_key")),
    "update_{}": ("Changes some fields of a {}", ("{}_id", "fields")),
    "delete_{}": ("Deletes a {} for good", ("{}_id", "reason")),
}
"""Names, descriptions and argument names; `{}` is the record's kind."""


def generate_tools(system: str) -> list[dict[str, Any]]:
    """The tools of one system, as `tools/list` would return them."""
    return [
        {
            "name": name.format(snake),
            "description": description.format(kind),
            "inputSchema": {
                "type": "object",
                "properties": {argument.format(snake): {"type": "string"} for argument in arguments},
            },
        }
        for kind in SYSTEMS[system]
        for snake in [kind.replace(" ", "_")]
        for name, (description, arguments) in ACTIONS.items()
    ]
