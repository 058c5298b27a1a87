"""The sandbox of templates: what they reach, and how much they may do until they are refused.

A mail is rendered in between everything else, and a loop in a template could go on for hours. So
each step is counted, and what it makes: rounds of loops by what stands in them, calls, filters, and
characters. A text that is too large is refused before it is made. Nothing is measured in time: what
a template may do is the same on every machine.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jinja2 import (
    BaseLoader,
    StrictUndefined,
    TemplateSyntaxError,
    nodes,
    pass_context,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Macro, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

# What one part of a mail may take: calls, filters, and for each round all that stands in the loop.
MOST_STEPS = 100_000
# Characters that all of them make together, in and out of the mail.
MOST_CHARACTERS = 500_000
# What a single step may be asked to make: the sizes of all that it is given, multiplied.
LARGEST_STEP = 1_000_000
GLOBALS = ("range", "namespace")
# They make more than the sizes of what they are given: a width can stand in the text.
_FORMATS = frozenset({"format", "format_map"})


class _Allowance:
    """What is left to one rendering."""

    def __init__(self) -> None:
        self.steps = MOST_STEPS
        self.characters = MOST_CHARACTERS

    def spend(self, result: object, steps: int) -> None:
        """Count steps and what they made. Raises SecurityError."""
        self.steps -= steps
        if isinstance(result, str):
            self.characters -= len(result)
        elif isinstance(result, Sized):
            self.steps -= len(result)
        if self.steps < 0 or self.characters < 0:
            raise SecurityError("the template does too much: too many rounds, or too long a text")


_allowance: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """Let the block render one part of a mail."""
    token = _allowance.set(_Allowance())
    try:
        yield
    finally:
        _allowance.reset(token)


def environment_of(
    loader: BaseLoader, filters: dict[str, Callable[..., Any]], *, hidden: Iterable[str]
) -> "BoundedEnvironment":
    """Return an environment with these filters, and no global that hides a variable."""
    environment = BoundedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.filters.update(filters)
    environment.filters = {
        name: _bounded_filter(one)
        for name, one in environment.filters.items()
        if name not in _FORMATS
    }
    environment.filters.update(_counted=_counted, _weighed=_weighed, _joined=_joined)
    # Nothing that a template does not need.
    environment.globals = {
        name: value
        for name, value in environment.globals.items()
        if name in GLOBALS and name not in hidden
    }
    return environment


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which each step is counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Reckon, with numbers that stay small and texts that stay short."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"templates do without the operator {operator} here")
        if operator == "*":
            _require_small([left, right])
        return _spent(super().call_binop(context, operator, left, right))

    def call(*arguments: Any, **named: Any) -> Any:
        """Call a function, a macro or a method."""
        # Without names of its own, which a caller might give too.
        self, context, called, *given = arguments
        if getattr(called, "__name__", "") in _FORMATS:
            raise SecurityError("templates do without format")
        if not isinstance(called, Macro):
            _require_small([getattr(called, "__self__", None), *given, *named.values()])
        return _spent(super(BoundedEnvironment, self).call(context, called, *given, **named))


class _Counting(NodeTransformer):
    """Puts a counter around what loops, joins and shows, and into all that can be repeated."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - found by this name
        if node.recursive:
            message = "a loop of a mail is not recursive"
            raise TemplateSyntaxError(message, node.lineno)
        weight = _weight_of(node)
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted", weight)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - likewise
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802 - likewise
        self.generic_visit(node)
        node.nodes = [
            one if isinstance(one, nodes.TemplateData) else _filtered(one, "_weighed")
            for one in node.nodes
        ]
        return node

    def _with_toll(self, node: Any) -> Any:
        weight = _weight_of(node)
        self.generic_visit(node)
        toll = _filtered(nodes.Const(None, lineno=node.lineno), "_weighed", weight)
        node.body.insert(0, nodes.ExprStmt(toll, lineno=node.lineno))
        return node

    visit_Macro = visit_Block = visit_Template = _with_toll  # noqa: N815 - likewise


def _weight_of(node: nodes.Node) -> int:
    """Return how many steps it is to go through a part of a template once."""
    texts = sum(len(one.data) for one in node.find_all(nodes.TemplateData))
    return 1 + sum(1 for _ in node.find_all(nodes.Node)) + texts // 10


def _filtered(node: Any, name: str, *given: int) -> nodes.Filter:
    arguments: list[nodes.Expr] = [nodes.Const(one, lineno=node.lineno) for one in given]
    return nodes.Filter(node, name, arguments, [], None, None, lineno=node.lineno)


# With the context, which they do not need: without it Jinja does them once, when it compiles.
@pass_context
def _counted(_context: Context, items: Iterable[Any], steps: int) -> Iterator[Any]:
    for one in items:
        _spent(None, steps)
        yield one


@pass_context
def _weighed(_context: Context, shown: Any, steps: int = 1) -> Any:
    return _spent(shown, steps)


@pass_eval_context
def _joined(context: EvalContext, parts: list[Any]) -> Any:
    return _spent((markup_join if context.autoescape else str_join)(parts))


def _bounded_filter(one: Callable[..., Any]) -> Callable[..., Any]:
    # With the mark of what Jinja passes to it, which is an attribute.
    @wraps(one)
    def counted(*arguments: Any, **named: Any) -> Any:
        _require_small([*arguments, *named.values()])
        return _spent(one(*arguments, **named))

    return counted


def _require_small(given: Iterable[Any]) -> None:
    """Raise SecurityError when what comes of these may be large."""
    size = 1
    for one in given:
        size *= max(1, _size_of(one))
        if size > LARGEST_STEP:
            raise SecurityError("what the template asks for is too large")


def _size_of(one: Any) -> int:
    match one:
        case bool():
            return 1
        case int():
            return abs(one)
        case list() | tuple():
            return sum(len(inner) if isinstance(inner, str) else 1 for inner in one)
        case str() | dict() | range():
            return len(one)
        case _:
            return 1


def _spent(result: Any, steps: int = 1) -> Any:
    left = _allowance.get()
    if left is not None:
        left.spend(result, steps)
    return result
