"""Settings of the documentation, and the pages that are written from the code.

`setup` writes ``docs/reference/``: one page for each module, and the tables that other
pages include.  Nothing there is edited or kept under version control.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any

import attrs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

from tezos_p2p.fsm.diagram import MACHINES
from tezos_p2p.fsm.machine import Table
from tezos_p2p.spec.layouts import LAYOUTS, layout_text
from tezos_p2p.spec.limits import limit_table

HERE = Path(__file__).parent
ROOT = HERE.parent
REFERENCE = HERE / "reference"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGE = "tezos_p2p"
FOLDERS = ("spec", "fsm", "io")

project = "tezos-p2p"
copyright = "the tezos-p2p authors"
release = version = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"tezos-p2p {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"
pygments_dark_style = "monokai"

nitpicky = True
# Names in single backticks are Python names: a name that does not exist is an error.
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# The types stand in the signature; these would repeat them.
napoleon_use_rtype = False
napoleon_preprocess_types = False

myst_heading_anchors = 3


# -- pages written from the code -------------------------------------------------------


def modules(folder: str) -> Iterator[str]:
    """Give the names of the public modules of a folder, packages before their own."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not any(part.startswith("_") for part in parts):
            yield ".".join((PACKAGE, *parts))


def first_line(module: str) -> str:
    """Return what a module says about itself in one line."""
    return (importlib.import_module(module).__doc__ or "").partition("\n")[0]


def home_of(value: Any) -> str | None:
    """Return the full name under which a class or function is documented."""
    if isinstance(value, enum.Enum):
        kind = type(value)
        return f"{kind.__module__}.{kind.__qualname__}.{value.name}"
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return None


def module_page(name: str) -> str:
    """Return the page of one module."""
    short = name.removeprefix(PACKAGE + ".")
    lines = [f"# {short}", "", "```{eval-rst}", f".. automodule:: {name}"]
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if name.startswith(f"{PACKAGE}.io.cli"):
        # A command's functions are its arguments, which its help lists: no public names.
        return "\n".join([*lines, "   :no-members:", "```", ""])
    if exported is None:
        return "\n".join([*lines, "```", ""])
    # A package: its members have pages of their own.
    lines += ["   :no-members:", "```", "", "| public name | |", "| --- | --- |"]
    for public in exported:
        value = getattr(module, public)
        home = home_of(value)
        if home is None:
            home = constant_home(module, public)
            said = constant_text(value, home.rpartition(".")[0])
        else:
            said = (inspect.getdoc(value) or "").partition("\n")[0].replace("|", "\\|")
        lines.append(f"| {{py:obj}}`{public} <{home}>` | {rst_line(said)} |")
    return "\n".join([*lines, ""])


def constant_home(package: ModuleType, public: str) -> str:
    """Return the full name of a re-exported constant: the module that assigns it."""
    value = getattr(package, public)
    for name in modules(package.__name__.removeprefix(PACKAGE + ".")):
        module = importlib.import_module(name)
        assigned = public in getattr(module, "__annotations__", {})
        if assigned and getattr(module, public) is value:
            return f"{name}.{public}"
    return f"{package.__name__}.{public}"


def constant_text(value: Any, module: str) -> str:
    """Return what to say of a constant or of the alias of a union."""
    if isinstance(value, UnionType):
        return " or ".join(f"`{member.__name__}`" for member in value.__args__)
    short = module.removeprefix(PACKAGE + ".")
    return f"constant, see [{short}]({short}.md)"


def rst_line(text: str) -> str:
    """Return one line of a docstring as Markdown."""
    return text.replace("``", "`")


def reference_index() -> str:
    """Return the list of all modules, in the order in which they build on each other."""
    meaning = {
        "spec": "what the protocol says: values and bytes",
        "fsm": "how it behaves: state machines without I/O",
        "io": "how it meets the world",
    }
    lines = ["# Reference", "", "One page per module, written from its docstrings.", ""]
    for folder in FOLDERS:
        names = list(modules(folder))
        lines += [f"## {folder}: {meaning[folder]}", ""]
        lines += ["| module | |", "| --- | --- |"]
        for name in names:
            short = name.removeprefix(PACKAGE + ".")
            lines.append(f"| [{short}]({short}.md) | {rst_line(first_line(name))} |")
        lines += ["", "```{toctree}", ":hidden:", ""]
        lines += [name.removeprefix(PACKAGE + ".") for name in names]
        lines += ["```", ""]
    return "\n".join(lines)


def number(value: float | tuple[int, int] | None) -> str:
    """Return a limit as text; no-break spaces between thousands from 10 000 on."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(number, value))
    return f"{value:.15g}" if value < 10_000 else f"{value:_.15g}".replace("_", "\xa0")


def limits_page() -> str:
    """Return the table of limits."""
    head = ("| name | default | unit | meaning |", "| --- | ---: | --- | --- |")
    lines = ["## Constants of the protocol", "", *head]
    settings = ["", "## Settings of a node", "", "Fields of {py:class}`.Limits`."]
    settings += ["In the reference node's configuration file, section `p2p.limits`, "]
    settings += ["the keys are these names with `-` for `_`; those marked `*` are keys "]
    settings += ["as they are.", "", *head]
    for limit in limit_table():
        mark = " `*`" if limit.key == limit.name and "_" in limit.name else ""
        name = f"`{limit.name}`{mark}"
        cells = [name, number(limit.default), limit.unit, limit.meaning]
        (settings if limit.key else lines).append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *settings, ""])


def layouts_page() -> str:
    """Return every layout as text."""
    parts: list[str] = []
    for name in LAYOUTS:
        parts += [f"### {name}", "", "```text", layout_text(name).rstrip("\n"), "```", ""]
    return "\n".join(parts)


def machine_page(table: Table) -> str:
    """Return the states and the rows of one machine as tables."""
    lines = ["| state | meaning |", "| --- | --- |"]
    lines += [f"| `{state.name}` | {state.value} |" for state in table.states]
    lines += [
        "",
        "| trigger | from | to | guard | then |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in table.rows:
        source = ", ".join(f"`{state.name}`" for state in row.sources)
        dest = f"`{row.dest.name}`" if row.dest else "stays"
        guard = ", ".join(f"`{name}`" for name in row.guard)
        after = ", ".join(f"`{name}`" for name in row.after)
        lines.append(f"| `{row.trigger}` | {source} | {dest} | {guard} | {after} |")
    return "\n".join([*lines, ""])


def reference() -> dict[str, str]:
    """Return every generated file, by name."""
    pages = {"index.md": reference_index(), "limits.inc": limits_page()}
    pages["layouts.inc"] = layouts_page()
    for name, table in MACHINES.items():
        pages[f"{name}.inc"] = machine_page(table)
    for folder in FOLDERS:
        for name in modules(folder):
            pages[f"{name.removeprefix(PACKAGE + '.')}.md"] = module_page(name)
    return pages


def write_reference() -> None:
    """Write what has changed and remove what has gone."""
    REFERENCE.mkdir(exist_ok=True)
    pages = reference()
    for path in REFERENCE.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = REFERENCE / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


# -- names in docstrings ---------------------------------------------------------------


class Missing(Exception):
    """A name that does not exist."""


def follow(value: Any, path: list[str]) -> tuple[Any, str | None]:
    """Return what a dotted path leads to, and its full name if it has one."""
    home: str | None = value.__name__ if isinstance(value, ModuleType) else home_of(value)
    for part in path:
        holder = home
        # Fields of slotted classes without a default are no attributes of the class.
        known = getattr(value, "__annotations__", {})
        if not hasattr(value, part) and part not in known:
            raise Missing(part)
        value = getattr(value, part, None)
        home = home_of(value) or (f"{holder}.{part}" if holder else None)
    return value, home


def absolute(target: str) -> tuple[Any, str | None]:
    """Find a name by importing as much of it as can be imported."""
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        return follow(module, parts[length:])
    raise Missing(target)


def find(target: str, module_name: str | None, class_name: str | None) -> str | None:
    """Return the full name of what a docstring calls ``target``, as Python sees it.

    None if it exists and has no documentation of its own.

    Raises:
        Missing: no such name.
    """
    target = target.removesuffix("()")
    parts = target.split(".")
    if module_name is not None:
        module = importlib.import_module(module_name)
        scopes: list[Any] = [module]
        if class_name is not None:
            scopes.insert(0, follow(module, class_name.split("."))[0])
        own = [v for v in vars(module).values() if inspect.isclass(v)]
        # Last, members of the classes that this module uses: `VERDICT`, `start`.
        own.sort(key=lambda v: v.__module__ != module_name)
        for scope in [*scopes, *own]:
            try:
                return follow(scope, parts)[1]
            except Missing:
                continue
        package = module_name.rpartition(".")[0]
        for prefix in (package, PACKAGE):
            try:
                return absolute(f"{prefix}.{target}")[1]
            except Missing:
                continue
        if hasattr(builtins, target):
            return None
    return absolute(target)[1]


def resolve(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Link a Python name that Sphinx does not find; leave alone what does not exist."""
    if node.get("refdomain") != "py":
        return None
    try:
        name = find(node["reftarget"], node.get("py:module"), node.get("py:class"))
    except Missing:
        return None
    entry = env.get_domain("py").objects.get(name)
    if entry is None:
        return content
    return make_refnode(
        app.builder, node["refdoc"], entry.docname, entry.node_id, [content], name
    )


def keep_members(*args: Any) -> bool | None:
    """Show the members of enumerations, though few have docstrings."""
    return False if isinstance(args[3], enum.Enum) else None


#: Stands for a colon while napoleon looks at what is said of one value: it would take
#: the words before it for a type.
COLON = "\ue000"
VALUES = ("attribute", "data", "property")


def hide_colons(*args: Any) -> None:
    """Keep napoleon from cutting the first line of a value's docstring in two."""
    lines: list[str] = args[5]
    if args[1] in VALUES:
        lines[:] = [line.replace(":", COLON) for line in lines]


def show_colons(*args: Any) -> None:
    """Undo `hide_colons`."""
    lines: list[str] = args[5]
    lines[:] = [line.replace(COLON, ":") for line in lines]


def drop_noise(*args: Any) -> None:
    """Drop what `typing.NamedTuple` says of its fields."""
    lines: list[str] = args[5]
    lines[:] = [line for line in lines if not line.startswith("Alias for field number")]


def readable(*args: Any) -> tuple[str, str] | None:
    """Write the defaults of attrs classes as source code would."""
    value, signature, returns = args[3], args[5], args[6]
    if getattr(value, "_is_protocol", False):
        return "", returns
    if not signature or not (inspect.isclass(value) and attrs.has(value)):
        return None
    for field in attrs.fields(value):
        shown = "..." if isinstance(field.default, attrs.Factory) else repr(field.default)
        if inspect.isfunction(field.default):
            shown = field.default.__name__
        signature = signature.replace(f"attr_dict['{field.name}'].default", shown)
    return signature.replace("NOTHING", "..."), returns


def everything(*args: Any) -> set[str]:
    """Read every page at every build: a page that is not read does not warn again."""
    found: set[str] = args[1].found_docs
    return found


def tidy(_: Sphinx, doctree: nodes.document) -> None:
    """Drop the line "Bases: object"; call attributes so."""
    for label in doctree.findall(nodes.field_name):
        if label.astext() == "Variables":
            label.children = [nodes.Text("Attributes")]
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)


def setup(app: Sphinx) -> None:
    """Write the generated pages, and have names looked up as Python does."""
    write_reference()
    app.connect("missing-reference", resolve)
    app.connect("autodoc-skip-member", keep_members)
    app.connect("autodoc-process-signature", readable)
    app.connect("doctree-read", tidy)
    app.connect("env-get-outdated", everything)
    app.connect("autodoc-process-docstring", drop_noise)
    # Napoleon's own place is 500.
    app.connect("autodoc-process-docstring", hide_colons, priority=499)
    app.connect("autodoc-process-docstring", show_colons, priority=501)
