"""YAML 1.2 text to plain data that remembers where each value stands.

PyYAML follows YAML 1.1, which reads ``1e-3`` as text and ``no`` as false. Only its parser is used here; scalars are
resolved by the core schema of YAML 1.2.2 (section 10.3.2).
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from jaxcalc.lab.errors import ConfigError, Mark

Path = tuple[str | int, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}\Z")  # Python converts no longer ones; they stay text
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)\Z")
_WORDS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


@dataclass
class Document:
    """Plain data with the place of every key and value by path, and the question in the opening comment."""

    data: Any
    question: str = ""
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path, *, key: bool = False) -> Mark | None:
        """The place of ``path``, or of its nearest ancestor that was written down."""
        for length in range(len(path), -1, -1):
            head = path[:length]
            first, second = (self.keys, self.values) if key else (self.values, self.keys)
            if head in first:
                return first[head]
            if head in second:
                return second[head]
        return None


def scalar(text: str) -> Any:
    """A plain scalar's value under the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        # A number that no float holds stays a word, which every numeric field refuses.
        return text if math.isinf(value := float(text)) else value
    if _INFINITY.match(text):
        return float("-inf") if text[0] == "-" else float("inf")
    if text in (".nan", ".NaN", ".NAN"):
        return float("nan")
    return text


def opening_question(text: str) -> str:
    """The first sentence of a config's opening comment, past the line that is for an editor."""
    words = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            words.append(line.lstrip("# "))
    return re.split(r"(?<=[.?!])\s", " ".join(words), maxsplit=1)[0]


def parse(text: str, file: str) -> Document:
    """Parse one YAML document.

    Args:
      text: the document.
      file: its name in messages.

    Raises:
      ConfigError: not YAML, duplicate or non-text keys, tags, several documents, an alias that contains itself.
    """
    lines = text.splitlines()

    def mark(at: Any, length: int = 1) -> Mark:
        if at.line < len(lines):
            return Mark(file, at.line + 1, at.column + 1, length, lines[at.line])
        last = lines[-1] if lines else ""  # the parser points past the end when something is left open
        return Mark(file, max(1, len(lines)), len(last) + 1, 1, last)

    try:
        for token in yaml.scan(text, Loader=_LOADER):
            if isinstance(token, yaml.TagToken):
                raise ConfigError(
                    "tags (words that begin with '!') are not used in a config",
                    mark=mark(token.start_mark),
                    remedy="Quote the value if it is text.",
                )
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "cannot be read"
        raise ConfigError(f"not YAML: {problem}", mark=mark(at) if at else Mark(file, 0, 1, 1, "")) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}".splitlines()[0]) from None
    except RecursionError:
        raise ConfigError(f"{file}: too many brackets within brackets") from None
    document = Document(None, opening_question(text))
    try:
        if root is not None:
            document.data = _build(root, (), document, mark, ())
    except RecursionError:
        raise ConfigError(f"{file}: too many brackets within brackets") from None
    return document


def _build(node: Any, path: Path, document: Document, mark: Any, above: tuple[int, ...]) -> Any:
    if id(node) in above:
        raise ConfigError("an alias contains itself", mark=mark(node.start_mark))
    above = (*above, id(node))
    document.values[path] = mark(node.start_mark, _length(node))
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else scalar(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, (*path, i), document, mark, above) for i, child in enumerate(node.value)]
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        at = mark(key_node.start_mark, _length(key_node))
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError("a key must be a word", mark=at)
        key = key_node.value
        if key in data:
            raise ConfigError(
                f"duplicate key {key!r}; it stands on line {document.keys[(*path, key)].line} too", mark=at
            )
        document.keys[(*path, key)] = at
        data[key] = _build(value_node, (*path, key), document, mark, above)
    return data


def _length(node: Any) -> int:
    start, end = node.start_mark, node.end_mark
    return max(1, end.column - start.column) if start.line == end.line else 1


class _Dumper(_DUMPER):
    """Writes text in quotes wherever ``parse`` would otherwise read a number, a boolean or null."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if isinstance(scalar(text), str) else '"'
    ),
)


def dump(data: Any) -> str:
    """Plain data as YAML that ``parse`` reads back to the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
