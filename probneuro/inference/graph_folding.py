"""Making traced graphs quick: folding what does not depend on the input, and compiling."""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten
# These look at the shape of their input, never at its values.
_OF_SHAPE = {
    *(_ATEN.zeros_like.default, _ATEN.ones_like.default, _ATEN.full_like.default),
    *(_ATEN.new_zeros.default, _ATEN.new_ones.default, _ATEN.new_full.default),
}
_UNSAFE_VIEW = _ATEN._unsafe_view.default  # a view, though its schema does not say so
# Nothing happens in these where shape and strides stay as they are, or in the first power.
_VIEWS = {
    *(_ATEN.view.default, _ATEN.expand.default, _ATEN.slice.Tensor, _UNSAFE_VIEW),
    *(_ATEN.alias.default, _ATEN.detach.default),
}


def fold(module: GraphModule) -> GraphModule:
    """Replace constant parts of a traced graph by their values, in place.

    A program's density holds many: logarithms of fixed scales, expanded data, priors of
    nothing. Nodes that an in-place operation may write to stay as they are.

    Parameters
    ----------
    module : torch.fx.GraphModule
        As ``make_fx`` gives it.

    Returns
    -------
    torch.fx.GraphModule
        The same module, shorter.

    Examples
    --------
    >>> from torch.fx.experimental.proxy_tensor import make_fx
    >>> module = make_fx(lambda x: x + torch.ones(2).log())(torch.zeros(2))
    >>> len(fold(module).graph.nodes)
    4
    """
    _fix_types(module)
    written = _written_to(module)
    values: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node not in written and _is_constant(node, values):
            values[node] = _evaluate(module, node, values)
    for number, (node, value) in enumerate(values.items()):
        outside = [user for user in node.users if user not in values]
        if node.op == "get_attr" or not outside or not isinstance(value, torch.Tensor):
            continue
        name = f"_folded_{number}"
        module.register_buffer(name, value.detach().clone())
        with module.graph.inserting_before(node):
            fresh = module.graph.get_attr(name)
        for user in outside:
            user.replace_input_with(node, fresh)
    for node in module.graph.nodes:
        if node not in written and _does_nothing(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def compiled(module: GraphModule, example: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """Return a graph as machine code; raises whatever goes wrong, such as a missing compiler.

    Parameters
    ----------
    module : torch.fx.GraphModule
        As `fold` gives it.
    example : torch.Tensor
        An input; later ones must have its shape, dtype and strides.
    """
    from torch._inductor import compile as inductor

    with torch.no_grad():
        code: Callable[[torch.Tensor], Any] = inductor(module, [example])
        code(example)  # some failures show here alone
    return code


def _fix_types(module: GraphModule) -> None:
    """Give what makes tensors of nothing the type that it had when traced.

    Without one it takes torch's default type at every run, which all threads share, and any may
    have changed for a while.
    """
    for node in module.graph.nodes:
        if not _is_operation(node) or node.all_input_nodes or "tensor_meta" not in node.meta:
            continue
        free = [a.name for a in node.target._schema.arguments[len(node.args) :]]
        if "dtype" in free and node.kwargs.get("dtype") is None:
            node.kwargs = {**node.kwargs, "dtype": node.meta["tensor_meta"].dtype}


def _written_to(module: GraphModule) -> set[Node]:
    """Return every node whose memory an in-place operation may reach."""
    found: set[Node] = set()
    for node in module.graph.nodes:
        if _is_operation(node) and node.target._schema.is_mutable:
            waiting = [node]
            while waiting:
                current = waiting.pop()
                if current not in found:
                    found.add(current)
                    waiting.extend(_shares_memory_with(current))
    return found


def _is_operation(node: Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)


def _shares_memory_with(node: Node) -> list[Node]:
    """Return the inputs that the node's value may be a view of."""
    if not _is_operation(node):
        return node.all_input_nodes  # anything may happen there
    # An operation's target is an OpOverload; the graph declares it as a function or a name.
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    named = {argument.name: argument for argument in arguments}
    given = list(zip(arguments, node.args, strict=False))
    given += [(named[name], value) for name, value in node.kwargs.items()]
    found: list[Node] = []
    for argument, value in given:
        if argument.alias_info is not None or node.target is _UNSAFE_VIEW:
            torch.fx.node.map_arg(value, found.append)
    return found


def _is_constant(node: Node, values: dict[Node, Any]) -> bool:
    if node.op == "get_attr":
        return True
    target: Any = node.target
    if not _is_operation(node) or torch.Tag.nondeterministic_seeded in target.tags:
        return False
    return target in _OF_SHAPE or all(source in values for source in node.all_input_nodes)


def _does_nothing(node: Node) -> bool:
    if node.target is _ATEN.pow.Tensor_Scalar:
        return bool(node.args[1] == 1)
    if node.target not in _VIEWS or "tensor_meta" not in node.all_input_nodes[0].meta:
        return False
    before, after = node.all_input_nodes[0].meta["tensor_meta"], node.meta["tensor_meta"]
    return bool(before.shape == after.shape and before.stride == after.stride)


def _evaluate(module: GraphModule, node: Node, values: dict[Node, Any]) -> Any:
    if node.op == "get_attr":
        return getattr(module, str(node.target))

    def value(source: Node) -> Any:
        if source in values:
            return values[source]
        like = source.meta["tensor_meta"]
        where = source.meta["val"].device if "val" in source.meta else None
        return torch.empty_strided(like.shape, like.stride, dtype=like.dtype, device=where)

    with torch.no_grad():
        args = torch.fx.node.map_arg(node.args, value)
        kwargs = torch.fx.node.map_arg(node.kwargs, value)
        # As above: the target of an operation can be called, and is no name.
        return node.target(*args, **kwargs)  # type: ignore[operator]
