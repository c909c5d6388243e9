"""Circles of imports: modules each of which leads to all others, so that none can be understood or changed alone.

Every import counts: at the top of a file, inside a function, and for types only.
"""

from __future__ import annotations

from functools import cache

import grimp


@cache
def graph_of(package: str) -> grimp.ImportGraph:
    """Who imports whom, in a package that nothing is above: ``thunderhead``, not ``thunderhead.store``."""
    return grimp.build_graph(package, cache_dir=None, exclude_type_checking_imports=False)


def components(package: str) -> list[list[str]]:
    """The circles (strongly connected components of more than one module) that touch a package or are in it, the
    largest first."""
    graph, found = graph_of(package.partition(".")[0]), []
    left = {module for module in graph.modules if f"{module}.".startswith(f"{package}.")}
    while left:
        module = min(left)
        circle = {module} | (graph.find_upstream_modules(module) & graph.find_downstream_modules(module))
        left -= circle
        found += [sorted(circle)] if len(circle) > 1 else []
    return sorted(found, key=lambda circle: (-len(circle), circle))
