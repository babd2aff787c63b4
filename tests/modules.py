"""The modules of a crate, and which file uses which."""

import re
from collections.abc import Iterator
from pathlib import Path

USE = re.compile(r"\b(pub(?:\([a-z ]+\))?\s+)?use\s+([^;]+);")
INLINE = re.compile(r"\b(?:crate|super|self)(?:::[A-Za-z_]\w*)+")


def without_comments(text: str) -> str:
    """Without comments and strings, and without the tests at the end of a file."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r'b?"(?:[^"\\]|\\.)*"', '""', text)
    return re.split(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))?\s+)?mod \w+ \{", text)[0]


def expanded(tree: str) -> Iterator[list[str]]:
    """The paths of a use tree, each as a list of names."""
    tree = tree.strip()
    at = tree.find("{")
    if at < 0:
        yield [name.strip() for name in tree.split(" as ")[0].split("::")]
        return
    head = [name.strip() for name in tree[:at].split("::") if name.strip()]
    depth, start, inner = 0, at + 1, tree[at + 1 : tree.rindex("}")] + ","
    start = 0
    for place, character in enumerate(inner):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if inner[start:place].strip():
                for path in expanded(inner[start:place]):
                    yield head + path
            start = place + 1


class Crate:
    """The files below a `src`, named as modules: `("http", "head")`."""

    def __init__(self, source: Path) -> None:
        self.files: dict[tuple[str, ...], str] = {}
        for path in source.rglob("*.rs"):
            names = path.relative_to(source).with_suffix("").parts
            if names[-1] in ("mod", "lib"):
                names = names[:-1]
            if "tests" not in names:
                self.files[names] = without_comments(path.read_text())
        self.exports = {module: dict(self._exports(module)) for module in self.files}

    def _exports(self, module: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The names that a module re-exports, with their origins."""
        for public, tree in USE.findall(self.files[module]):
            for path in expanded(tree) if public else ():
                yield path[-1], tuple(path)

    def place(self, module: tuple[str, ...], path: list[str]) -> tuple[str, ...] | None:
        """The file that defines what this path in this module names; None for another crate's."""
        at = module
        match path[0]:
            case "crate":
                at, path = (), path[1:]
            case "self":
                path = path[1:]
            case "super":
                while path and path[0] == "super":
                    at, path = at[:-1], path[1:]
            case name if (*module, name) not in self.files:
                return None
        while path:
            if (*at, path[0]) in self.files:
                at, path = (*at, path[0]), path[1:]
            elif path[0] in self.exports.get(at, {}):
                return self.place(at, list(self.exports[at][path[0]]))
            else:
                break
        return at

    def uses(self, module: tuple[str, ...]) -> set[tuple[str, ...]]:
        """The other files that a file uses. Re-exports of a folder's own file are not counted."""
        text = self.files[module]
        paths = [path for public, tree in USE.findall(text) if not public for path in expanded(tree)]
        rest = USE.sub("", text)
        paths += [found.split("::") for found in INLINE.findall(rest)]
        children = {place[-1] for place in self.files if place and place[:-1] == module}
        paths += [[name] for name in children if re.search(rf"(?<!::)\b{name}::", rest)]
        found = {self.place(module, path) for path in paths}
        return {place for place in found if place is not None and place != module}

    def circles(self) -> list[set[tuple[str, ...]]]:
        """The groups of files that use each other in a circle."""
        arrows = {module: self.uses(module) for module in self.files}

        def reached(module: tuple[str, ...]) -> set[tuple[str, ...]]:
            seen: set[tuple[str, ...]] = set()
            todo = [module]
            while todo:
                for place in arrows.get(todo.pop(), ()):
                    if place not in seen:
                        seen.add(place)
                        todo.append(place)
            return seen

        behind = {module: reached(module) for module in arrows}
        groups = []
        for module in arrows:
            group = {other for other in behind[module] if module in behind[other]}
            if group and group not in groups:
                groups.append(group)
        return groups
