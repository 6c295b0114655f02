"""Reads a mapping's YAML into its specification; faults name file, line, key and what was expected.

Scalars follow YAML 1.2: `no`, `on` and dates are text, which is what someone who maps the value
`NO` means.
"""

import re

import msgspec
import yaml

from ocelot_cli.mapping.errors import MappingError
from ocelot_cli.mapping.specification import MappingSpec

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_FAULT = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the booleans of YAML 1.2, without dates, refusing keys given twice."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class MappingSource:
    """The text of one mapping: its specification, and where its keys stand."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._root: yaml.Node | None = None
        try:
            self._root = yaml.compose(text, Loader=_Loader)
            if self._root is None:
                raise MappingError(file, "", "The file must not be empty.")
            self._check_keys(self._root)
            loaded: object = _Loader("").construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = None if mark is None else mark.line + 1
            raise MappingError(
                file, "", f"The file is not valid YAML: {error.problem}.", line
            ) from None
        except (yaml.YAMLError, RecursionError) as error:
            raise MappingError(file, "", f"The file is not valid YAML: {error}.") from None
        try:
            self.spec = msgspec.convert(loaded, MappingSpec, str_keys=True)
        except msgspec.ValidationError as error:
            raise self._from_validation(str(error)) from None
        except (
            UnicodeEncodeError
        ):  # YAML's \ud83d; JSON's two escapes of one emoji are two of these
            detail = "An escape is half of a surrogate pair. Write the character itself."
            raise MappingError(file, "", detail) from None

    def fault(self, key: str, detail: str) -> MappingError:
        """A fault of this file at the dotted `key`, with its line."""
        return MappingError(self._file, key, detail, self._line(key))

    def _check_keys(self, node: yaml.Node, key: str = "") -> None:
        """Refuse keys given twice, and make keys text: `404:` in a table is the text 404."""
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    raise MappingError(
                        self._file, key, "The key must be a scalar.", name.start_mark.line + 1
                    )
                name.tag = "tag:yaml.org,2002:str"
                inner = f"{key}.{name.value}".removeprefix(".")
                if name.value in seen:
                    raise MappingError(
                        self._file,
                        inner,
                        "The key must be given only once.",
                        name.start_mark.line + 1,
                    )
                seen.add(name.value)
                self._check_keys(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._check_keys(value, f"{key}[{index}]")

    def _line(self, key: str) -> int | None:
        """The line of `key`, or of the innermost part of it that there is."""
        node = self._root
        if node is None:
            return None
        line = node.start_mark.line
        for name, index in _STEP.findall(f".{key}" if key else ""):
            if isinstance(node, yaml.MappingNode):
                found = [pair for pair in node.value if pair[0].value == name]
                if not found:
                    break
                line, node = found[0][0].start_mark.line, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and index.isdigit():
                if int(index) >= len(node.value):
                    break
                node = node.value[int(index)]
                line = node.start_mark.line
            else:
                break
        return int(line) + 1

    def _from_validation(self, message: str) -> MappingError:
        match = _FAULT.fullmatch(message)
        what, path = (match["what"], match["path"] or "") if match else (message, "")
        path = path.removeprefix(".")
        if unknown := _UNKNOWN.fullmatch(what):
            key = f"{path}.{unknown[1]}".removeprefix(".")
            return self.fault(key, "The key is unknown. docs/mappings.md lists the keys.")
        if missing := _MISSING.fullmatch(what):
            key = f"{path}.{missing[1]}".removeprefix(".")
            return self.fault(key, "The key is required.")
        return self.fault(path, what[:1].lower() + what[1:].replace("`", ""))
