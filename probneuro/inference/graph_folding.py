"""Taking out of a traced graph what does not depend on its input."""

from typing import Any

import torch
from torch.fx import GraphModule, Node


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
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _written_to(module: GraphModule) -> set[Node]:
    """Return every node whose memory an in-place operation may reach."""
    found: set[Node] = set()
    for node in module.graph.nodes:
        if _is_mutable(node):
            waiting = [node]
            while waiting:
                current = waiting.pop()
                if current not in found:
                    found.add(current)
                    waiting.extend(current.all_input_nodes)
    return found


def _is_mutable(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _is_constant(node: Node, values: dict[Node, Any]) -> bool:
    if node.op == "get_attr":
        return True
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    random = torch.Tag.nondeterministic_seeded in node.target.tags
    return not random and all(source in values for source in node.all_input_nodes)


def _evaluate(module: GraphModule, node: Node, values: dict[Node, Any]) -> Any:
    if node.op == "get_attr":
        return getattr(module, str(node.target))
    with torch.no_grad():
        args = torch.fx.node.map_arg(node.args, values.__getitem__)
        kwargs = torch.fx.node.map_arg(node.kwargs, values.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]
