"""A traced graph as one Python function: numpy where arrays are small, torch for the rest.

A torch operation costs microseconds before it computes anything, a numpy one a fifth of that. Where
the arrays hold some hundreds of numbers, as in most programs with few variables, that is nearly
all the time a gradient takes.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten
SMALL: Final = 2048
"""Most numbers in an array that numpy computes with; beyond, torch's own loops win."""
_DTYPES: Final = (torch.float64, torch.bool)
_Writer = Callable[[Node, list[str]], str | None]

# Operations of arrays and numbers alone, written with their operands.
_PATTERNS: Final[Mapping[Any, str]] = {
    _ATEN.abs.default: "absolute({0})",
    _ATEN.add.Scalar: "{0} + {1}",
    _ATEN.add.Tensor: "{0} + {1}",
    _ATEN.alias.default: "{0}",
    _ATEN.bitwise_and.Tensor: "{0} & {1}",
    _ATEN.bitwise_not.default: "~{0}",
    _ATEN.bitwise_or.Tensor: "{0} | {1}",
    _ATEN.clamp_max.default: "minimum({0}, {1})",
    _ATEN.clamp_min.default: "maximum({0}, {1})",
    _ATEN.clone.default: "{0}",
    _ATEN.cos.default: "cos({0})",
    _ATEN.detach.default: "{0}",
    _ATEN.div.Scalar: "{0} / {1}",
    _ATEN.div.Tensor: "{0} / {1}",
    _ATEN.eq.Scalar: "{0} == {1}",
    _ATEN.eq.Tensor: "{0} == {1}",
    _ATEN.exp.default: "exp({0})",
    _ATEN.expm1.default: "expm1({0})",
    _ATEN.ge.Scalar: "{0} >= {1}",
    _ATEN.ge.Tensor: "{0} >= {1}",
    _ATEN.gt.Scalar: "{0} > {1}",
    _ATEN.gt.Tensor: "{0} > {1}",
    _ATEN.isinf.default: "isinf({0})",
    _ATEN.isnan.default: "isnan({0})",
    _ATEN.le.Scalar: "{0} <= {1}",
    _ATEN.le.Tensor: "{0} <= {1}",
    _ATEN.log.default: "log({0})",
    _ATEN.log1p.default: "log1p({0})",
    _ATEN.logical_and.default: "logical_and({0}, {1})",
    _ATEN.logical_not.default: "logical_not({0})",
    _ATEN.logical_or.default: "logical_or({0}, {1})",
    _ATEN.lt.Scalar: "{0} < {1}",
    _ATEN.lt.Tensor: "{0} < {1}",
    _ATEN.masked_fill.Scalar: "where({1}, {2}, {0})",
    _ATEN.maximum.default: "maximum({0}, {1})",
    _ATEN.minimum.default: "minimum({0}, {1})",
    _ATEN.mul.Scalar: "{0} * {1}",
    _ATEN.mul.Tensor: "{0} * {1}",
    _ATEN.ne.Scalar: "{0} != {1}",
    _ATEN.ne.Tensor: "{0} != {1}",
    _ATEN.neg.default: "-{0}",
    _ATEN.reciprocal.default: "1.0 / {0}",
    _ATEN.rsqrt.default: "1.0 / sqrt({0})",
    _ATEN.rsub.Scalar: "{1} - {0}",
    _ATEN.sgn.default: "sign({0})",
    _ATEN.sigmoid_backward.default: "{0} * (1.0 - {1}) * {1}",
    _ATEN.sign.default: "sign({0})",
    _ATEN.sin.default: "sin({0})",
    _ATEN.sqrt.default: "sqrt({0})",
    _ATEN.sub.Scalar: "{0} - {1}",
    _ATEN.sub.Tensor: "{0} - {1}",
    _ATEN.tanh.default: "tanh({0})",
    _ATEN.tanh_backward.default: "{0} * (1.0 - {1} * {1})",
    _ATEN.where.self: "where({0}, {1}, {2})",
}
# These change shapes alone, and the traced shape says how.
_RESHAPES: Final = {
    *(_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.reshape.default),
    *(_ATEN.unsqueeze.default, _ATEN.squeeze.default, _ATEN.squeeze.dim, _ATEN.squeeze.dims),
}
# These make an array of their own, number by number, and can write into that of an operand.
_POINTWISE: Final = {
    *("abs", "add", "clamp_max", "clamp_min", "div", "exp", "expm1", "log", "log1p", "mul", "neg"),
    *("reciprocal", "rsqrt", "sigmoid", "sqrt", "sub", "tanh"),
}
# These only read their operands, and keep no part of them.
_READING: Final = {*_POINTWISE, "log_sigmoid_backward", "mm", "pow", "sgn", "sum", "where"}
_NUMPY_NAMES: Final = [
    *("absolute", "minimum", "maximum", "cos", "sin", "exp", "expm1", "log", "log1p", "sqrt"),
    *("isinf", "isnan", "logical_and", "logical_or", "logical_not", "where", "sign", "tanh"),
    *("zeros", "concatenate", "broadcast_to", "cumsum"),
]


def as_function(module: GraphModule) -> Callable[[torch.Tensor], Any]:
    """Return a graph's forward pass, small steps in numpy.

    Parameters
    ----------
    module : torch.fx.GraphModule
        Of one input, shapes on record (``tensor_meta``), nothing written in place.

    Returns
    -------
    callable
        Takes and returns what the module does.

    Examples
    --------
    >>> from torch.fx.experimental.proxy_tensor import make_fx
    >>> module = make_fx(lambda x: (x.exp().sum(1), x * 2.0))(torch.zeros(2, 3).double())
    >>> as_function(module)(torch.ones(2, 3).double())[0].round(decimals=2)
    tensor([8.1500, 8.1500], dtype=torch.float64)
    """
    return _Translation(module).function()


class _Translation:
    """Source of one function, and what it refers to."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.lines: list[str] = []
        self.names: dict[str, Any] = {name: getattr(np, name) for name in _NUMPY_NAMES}
        self.names["add_reduce"] = np.add.reduce
        self.names["tensor"] = torch.from_numpy
        self.forms: dict[Node, set[str]] = {}  # "n" a numpy array, "t" a tensor
        self.last_use: dict[Node, Node] = {}
        for node in module.graph.nodes:
            for source in node.all_input_nodes:
                self.last_use[source] = node

    def function(self) -> Callable[[torch.Tensor], Any]:
        point, result = "", "None"
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                point = f"t_{node.name}"
                self.forms[node] = {"t"}
            elif node.op == "get_attr":
                self._constant(node)
            elif node.op == "output":
                result = self._text(node.args[0], "t")
                break
            elif not self._in_numpy(node):
                self._in_torch(node)
            self._forget([n for n in node.all_input_nodes if self.last_use[n] is node])
        # Constants and functions are defaults of arguments: the quickest names to look up.
        given = ", ".join(f"{name}={name}" for name in self.names)
        body = "\n    ".join([*self.lines, f"return {result}"])
        source = f"def forward({point}, *, {given}):\n    {body}\n"
        scope = dict(self.names)
        exec(compile(source, "<graph>", "exec"), scope)
        forward: Callable[[torch.Tensor], Any] = scope["forward"]
        return forward

    def _constant(self, node: Node) -> None:
        value = getattr(self.module, str(node.target))
        self.names[f"t_{node.name}"] = value
        self.forms[node] = {"t"}
        if isinstance(value, torch.Tensor):
            self.names[f"n_{node.name}"] = value.detach().numpy()
            self.forms[node].add("n")

    def _forget(self, nodes: list[Node]) -> None:
        """Let go of arrays as the graph does, so that memory is used again at once."""
        large = [n for n in nodes if n.op == "call_function" and not _is_small(n)]
        names = [f"{form}_{node.name}" for node in large for form in sorted(self.forms[node])]
        if names:
            self.lines.append(f"del {', '.join(names)}")

    def _in_torch(self, node: Node) -> None:
        self.names[f"op_{node.name}"] = self._in_place(node) or node.target
        args = [self._text(value, "t") for value in node.args]
        args += [f"{name}={self._text(value, 't')}" for name, value in node.kwargs.items()]
        if node.target is operator.getitem:
            self.lines.append(f"t_{node.name} = {args[0]}[{args[1]}]")
        else:
            self.lines.append(f"t_{node.name} = op_{node.name}({', '.join(args)})")
        self.forms[node] = {"t"}

    def _in_place(self, node: Node) -> Any:
        """Return the operation that writes into its first operand, if nothing needs that again.

        New memory for every step of a large computation costs as much as the steps.
        """
        source = node.args[0] if node.args else None
        if _operation(node) not in _POINTWISE or not isinstance(source, Node):
            return None
        own = _operation(source) in {*_POINTWISE, "mm", "log_sigmoid_backward"}
        if not own or self.last_use[source] is not node or node.args.count(source) > 1:
            return None
        if not all(_operation(user) in _READING for user in source.users):
            return None
        before, after = _meta(source), _meta(node)
        if before is None or after is None or before[:2] != after[:2]:  # shape and type
            return None
        target: Any = node.target
        overloads = getattr(_ATEN, f"{_operation(node)}_")
        return getattr(overloads, target._overloadname, None)

    def _in_numpy(self, node: Node) -> bool:
        if not _is_small(node) or not all(map(self._is_small, node.all_input_nodes)):
            return False
        if not set(node.kwargs) <= {"memory_format"}:
            return False
        source = self._written(node)
        if source is None:
            return False
        self.lines.append(f"n_{node.name} = {source}")
        self.forms[node] = {"n"}
        if node.target in _PLACED:
            self.lines.append(f"n_{node.name}[{_index(node)}] = {self._text(node.args[0], 'n')}")
        return True

    def _is_small(self, node: Node) -> bool:
        if node.op != "get_attr":
            return _is_small(node)
        value = getattr(self.module, str(node.target))
        return value.dtype in _DTYPES and value.numel() <= SMALL

    def _written(self, node: Node) -> str | None:
        args = [self._text(value, "n") for value in node.args]
        if node.target in _PATTERNS:
            return _PATTERNS[node.target].format(*args)
        if node.target in _RESHAPES:
            return f"{args[0]}.reshape({tuple(_meta(node).shape)})"
        writer = _WRITERS.get(node.target)
        return writer(node, args) if writer else None

    def _text(self, value: Any, form: str) -> str:
        """Return the source of an operand, a node in the form that is asked for."""
        if isinstance(value, Node):
            if form not in self.forms[value]:
                turned = f"tensor(n_{value.name})" if form == "t" else f"t_{value.name}.numpy()"
                self.lines.append(f"{form}_{value.name} = {turned}")
                self.forms[value].add(form)
            return f"{form}_{value.name}"
        if isinstance(value, list | tuple):
            inside = "".join(f"{self._text(each, form)}, " for each in value)
            return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
        if isinstance(value, bool | int | None | str):
            return repr(value)
        name = f"c_{len(self.names)}"
        self.names[name] = value  # a float that may be infinite, a dtype, a device
        return name


def _operation(node: Node) -> str:
    """Return the name of a node's operation, empty where it is none of torch's own."""
    target: Any = node.target
    own = isinstance(target, torch._ops.OpOverload) and target.namespace == "aten"
    return target._schema.name.removeprefix("aten::") if own else ""


def _meta(node: Node) -> Any:
    return node.meta.get("tensor_meta")


def _is_small(node: Node) -> bool:
    meta = _meta(node)
    if not hasattr(meta, "shape"):
        return False
    # Numpy would make a scalar of an array without axes.
    return meta.dtype in _DTYPES and meta.shape.numel() <= SMALL and len(meta.shape) > 0


def _index(node: Node) -> str:
    """Return where a slice or a selection lies: axis, then start, end and step or one index."""
    args: Any = node.args
    placed = node.target in _PLACED
    shape = args[1] if placed else _meta(args[0]).shape
    given: list[Any] = list(args[2 if placed else 1 :]) or [0]
    axis, rest = given[0], given[1:]
    axis %= len(shape)
    if node.target in (_ATEN.select.int, _ATEN.select_backward.default):
        inside = repr(rest[0])
    else:
        start, end, step = rest + [None, None, 1][len(rest) :]
        inside = f"{start}:{end}:{step}"
    return ":, " * axis + inside


def _sum(node: Node, args: list[str]) -> str | None:
    given: Any = node.args[1:]
    axes, keep = (*given, False)[:2]
    if not axes:
        return None
    return f"add_reduce({args[0]}, axis={tuple(axes)!r}, keepdims={keep!r})"


def _power(node: Node, args: list[str]) -> str:
    exponent = node.args[1]
    if exponent == 2:
        return f"{args[0]} * {args[0]}"
    return f"{args[0]} ** {args[1]}"


def _joined(node: Node, args: list[str]) -> str:
    axis = node.args[1] if len(node.args) > 1 else 0
    return f"concatenate({args[0]}, axis={axis})"


def _running_sum(node: Node, args: list[str]) -> str:
    return f"cumsum({args[0]}, axis={args[1]})"


def _zeros(node: Node, args: list[str]) -> str | None:
    if _meta(node).dtype is not torch.float64:
        return None
    return f"zeros({tuple(_meta(node).shape)})"


def _part(node: Node, args: list[str]) -> str:
    return f"{args[0]}[{_index(node)}]"


def _expanded(node: Node, args: list[str]) -> str:
    # Written out: a tensor cannot be made of an array that must not be written to.
    return f"broadcast_to({args[0]}, {tuple(_meta(node).shape)}).copy()"


def _turned(node: Node, args: list[str]) -> str:
    return f"{args[0]}.transpose({args[1]})"


_PLACED: Final = {_ATEN.slice_backward.default, _ATEN.select_backward.default}
_WRITERS: Final[Mapping[Any, _Writer]] = {
    _ATEN.sum.dim_IntList: _sum,
    _ATEN.pow.Tensor_Scalar: _power,
    _ATEN.cat.default: _joined,
    _ATEN.cumsum.default: _running_sum,
    _ATEN.slice_backward.default: _zeros,
    _ATEN.select_backward.default: _zeros,
    _ATEN.slice.Tensor: _part,
    _ATEN.select.int: _part,
    _ATEN.expand.default: _expanded,
    _ATEN.permute.default: _turned,
}
