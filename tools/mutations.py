"""Small changes to a source file, each of which a test should notice: the list that `tools/mutate.py` tries.

A change replaces one piece of the text of a file; everything else in it stays as it is. Not changed, because no test
should notice it: docstrings, annotations, decorators, `if TYPE_CHECKING`, `__all__`, `__slots__`, logging, the words of
an exception, and f-strings (before Python 3.12 the compiler does not say where in the file their parts are).
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
}
LARGE = 1000
"""From this number on, one more or less is nothing that a test should notice."""
OTHER_FUNCTION = {"min": "max", "max": "min", "any": "all", "all": "any"}
NOT_CHANGED = {"__all__", "__slots__"}
LOGGERS = {"log", "logger", "logging"}
OF_DATACLASSES = {"init", "repr", "compare", "hash", "kw_only"}
OF_TYPES = {"TypeVar", "ParamSpec", "cast", "isinstance", "issubclass", "NewType"}


@dataclass(frozen=True, slots=True)
class Change:
    """Replace the bytes `start` to `end` of the file `path` by `new`.

    `line` is where it is; `lines` are those of the whole statement, of which one runs where the change takes effect.
    """

    path: str
    line: int
    lines: range
    start: int
    end: int
    new: str

    def applied(self, source: bytes) -> bytes:
        """Give the changed file."""
        return source[: self.start] + self.new.encode() + source[self.end :]

    def shown(self, source: bytes) -> str:
        """Show the change as the lines of a diff."""
        first = source.rfind(b"\n", 0, self.start) + 1
        after = source.find(b"\n", self.end)
        last = len(source) if after < 0 else after
        old = source[first:last].decode()
        new = (source[first : self.start] + self.new.encode() + source[self.end : last]).decode()
        return "\n".join([f"-{line}" for line in old.splitlines()] + [f"+{line}" for line in new.splitlines()])


def changes(path: str, source: bytes) -> list[Change]:
    """List every change of one file in the order of its text; each one compiles."""
    finder = _Finder(path, source)
    finder.statements(ast.parse(source).body)
    found = sorted(set(finder.found), key=lambda one: (one.start, one.end, one.new))
    return [one for one in found if _compiles(one.applied(source))]


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "changed", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.found: list[Change] = []
        self._path = path
        self._lines = range(0)
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _replace(self, old: ast.expr | ast.stmt | ast.pattern, new: str) -> None:
        assert old.end_lineno is not None and old.end_col_offset is not None  # noqa: S101, PT018  # parsed from a text
        start = self._starts[old.lineno - 1] + old.col_offset
        end = self._starts[old.end_lineno - 1] + old.end_col_offset
        self.found.append(Change(self._path, old.lineno, self._lines, start, end, new))

    def _rewrite(self, old: ast.expr, field: str, new: object) -> None:
        changed = copy.copy(old)
        setattr(changed, field, new)
        self._replace(old, f"({ast.unparse(changed)})")

    # Statements

    def statements(self, body: list[ast.stmt]) -> None:
        for one in body:
            if not _left_alone(one):
                self._statement(one)

    def _statement(self, one: ast.stmt) -> None:
        self._lines = _own_lines(one)
        if _deletable(one):
            self._replace(one, "pass")
        self._in_statement(one)
        for part in ("body", "orelse", "finalbody"):
            self.statements(getattr(one, part, []))
        for handler in getattr(one, "handlers", []):
            self.statements(handler.body)
        for case in getattr(one, "cases", []):
            self._case(case)

    def _in_statement(self, one: ast.stmt) -> None:
        match one:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for default in [*one.args.defaults, *one.args.kw_defaults]:
                    self._expression(default, text=True)
            case ast.Return(value=ast.expr() as value):
                if not (isinstance(value, ast.Constant) and value.value is None):
                    self._replace(value, "None")
                self._expression(value)
            case ast.AugAssign():
                other = ast.AugAssign(one.target, ARITHMETIC.get(type(one.op), ast.Sub)(), one.value)
                self._replace(one, ast.unparse(other))
                self._expression(one.value)
            case ast.AnnAssign():
                self._expression(one.value, text=isinstance(one.value, ast.Constant))
            case ast.If() | ast.While() | ast.Assert():
                self._condition(one.test)
            case ast.Raise() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                pass
            case _:
                for child in ast.iter_child_nodes(one):
                    self._expression(child)

    def _case(self, case: ast.match_case) -> None:
        self._lines = range(case.pattern.lineno, max(case.body[0].lineno - 1, case.pattern.lineno) + 1)
        if case.guard is None:
            self._replace(case.pattern, f"{ast.unparse(case.pattern)} if False")
        else:
            self._condition(case.guard)
        for node in ast.walk(case.pattern):
            if isinstance(node, ast.MatchValue):
                self._expression(node.value, text=True)
        self.statements(case.body)

    # Expressions

    def _condition(self, test: ast.expr) -> None:
        """Negate what decides; a comparison, a `not`, an `and` and an `or` have changes of their own."""
        if not isinstance(test, ast.Compare | ast.UnaryOp | ast.BoolOp | ast.Constant):
            self._replace(test, f"(not {ast.unparse(test)})")
        self._expression(test)

    def _expression(self, node: ast.AST | None, *, text: bool = False) -> None:  # noqa: C901  # one case for each kind
        """Find changes in an expression; `text`: a string decides something here, so it is changed as well."""
        match node:
            case None | ast.JoinedStr() | ast.stmt() | ast.ExceptHandler() | ast.match_case():
                return
            case ast.Constant():
                self._constant(node, text=text)
            case ast.Compare():
                self._compare(node)
                text = True
            case ast.BinOp() if type(node.op) in ARITHMETIC:
                self._rewrite(node, "op", ARITHMETIC[type(node.op)]())
            case ast.BoolOp():
                self._rewrite(node, "op", ast.And() if isinstance(node.op, ast.Or) else ast.Or())
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                self._replace(node, f"({ast.unparse(node.operand)})")
            case ast.IfExp():
                self._condition(node.test)
                node = ast.Tuple([node.body, node.orelse], ast.Load())
            case ast.comprehension():
                for test in node.ifs:
                    self._condition(test)
                node = node.iter
            case ast.Call(func=ast.Name(id=name)) if name in OTHER_FUNCTION:
                self._replace(node.func, OTHER_FUNCTION[name])
        for child in _parts(node):
            self._expression(child, text=text and isinstance(child, ast.Constant | ast.Tuple | ast.Set))

    def _constant(self, node: ast.Constant, *, text: bool) -> None:
        match node.value:
            case bool():
                self._replace(node, str(not node.value))
            case int() | float():
                for new in _other_numbers(node.value):
                    self._replace(node, f"{new}" if new >= 0 else f"({new})")
            case bytes() if node.value:
                self._replace(node, 'b""')
            case str() if text and node.value:
                self._replace(node, '""')

    def _compare(self, node: ast.Compare) -> None:
        for place, old in enumerate(node.ops):
            for new in COMPARISONS[type(old)]:
                self._rewrite(node, "ops", [*node.ops[:place], new(), *node.ops[place + 1 :]])


def _other_numbers(old: float) -> tuple[float, ...]:
    """Give one more and one less; twice and half of a fraction or a large number, of which one more is no change."""
    if isinstance(old, int):
        return (old + 1, old - 1) if old < LARGE else (old * 2, old // 2)
    return (old * 2, old / 2) if old else (1.0,)


def _own_lines(one: ast.stmt) -> range:
    """Give the lines of a statement without those of the statements in it."""
    last = one.end_lineno or one.lineno
    if isinstance(one, ast.Match):
        last = one.cases[0].pattern.lineno - 1
    elif inner := getattr(one, "body", []):
        last = inner[0].lineno - 1
    return range(one.lineno, max(last, one.lineno) + 1)


def _called(node: ast.AST) -> str:
    """Give the name that a call begins with: `log` of `log.info(…)`."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _parts(node: ast.AST) -> list[ast.AST]:
    """Give the parts of an expression that may be changed; what a call says to a logger or about types is none."""
    match node:
        case ast.Call() if _called(node) in LOGGERS:
            return []
        case ast.Call(func=ast.Name(id=name)) if name in OF_TYPES:
            return []
        case ast.Call(func=ast.Name(id="field")):
            return [one.value for one in node.keywords if one.arg not in OF_DATACLASSES]
        case _:
            return list(ast.iter_child_nodes(node))


def _left_alone(one: ast.stmt) -> bool:
    match one:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call() as call):
            return _called(call) in LOGGERS
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in NOT_CHANGED or (isinstance(one.value, ast.Call) and _called(one.value) in OF_TYPES)
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case _:
            return False


def _deletable(one: ast.stmt) -> bool:
    """Is it a statement without which the rest still runs? A local name that is never set ends in an error at once."""
    match one:
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Break() | ast.Continue():
            return True
        case ast.Return():
            return one.value is None
        case ast.Assign():
            return all(isinstance(target, ast.Attribute | ast.Subscript) for target in one.targets)
        case _:
            return False
