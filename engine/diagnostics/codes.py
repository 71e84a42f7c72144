"""The table of diagnostic codes: the only place that lists them.

A code never changes its meaning. Each one has a page in `pages/CODE.md` (what `engine explain` prints) and a bad
bundle in the tests.
The letter is the pass that finds it: Layout, eXtends, Yaml, Schema, References, Prompts, Tools, Grammar, Access
(permissions), Cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Code:
    """One row: the stable id, a readable name, the severity and what it means in one line."""

    id: str
    name: str
    severity: Literal["error", "warning"]
    summary: str


_ROWS = (
    ("L001", "manifest-missing", "error", "The folder has no bundle.yaml."),
    ("L002", "two-manifests", "error", "The folder has both bundle.yaml and bundle.yml."),
    ("L003", "file-missing", "error", "A file that the manifest names does not exist."),
    ("L004", "path-escapes", "error", "A path is absolute or leaves the bundle."),
    ("L005", "not-a-file", "error", "A path names a folder where a file is needed, or the reverse."),
    ("L006", "unreadable-file", "error", "A file cannot be read as UTF-8 text."),
    ("L007", "file-too-large", "error", "A file of the bundle is larger than the engine reads."),
    ("X001", "parent-missing", "error", "The bundle that `extends` names does not exist."),
    ("X002", "extends-itself", "error", "A bundle builds on itself, by way of others or not."),
    ("X003", "too-many-parents", "error", "A bundle has more bundles above it than the engine follows."),
    ("X004", "parent-unusable", "error", "The bundle that `extends` names cannot be built on."),
    ("X005", "removes-nothing", "error", "Something is removed that is not inherited, or is given as well."),
    ("X006", "bad-parent-path", "error", "The path in `extends` is absolute, leaves the zip or is not a path."),
    ("Y001", "yaml-syntax", "error", "The manifest is not valid YAML."),
    ("Y002", "duplicate-key", "error", "A mapping has the same key twice."),
    ("Y003", "alias-bomb", "error", "Aliases expand to more nodes than the engine accepts, or contain themselves."),
    ("Y004", "yaml-surprise", "error", "A plain value means something else in YAML 1.1 than it seems to."),
    ("Y005", "not-a-mapping", "error", "The manifest's top level is not a mapping."),
    ("Y006", "key-not-text", "error", "A mapping key is not text."),
    ("Y007", "yaml-tag", "error", "The manifest uses a YAML tag or several documents."),
    ("S001", "unknown-key", "error", "A key does not exist in the format."),
    ("S002", "wrong-type", "error", "A value has the wrong type."),
    ("S003", "missing-key", "error", "A required key is missing."),
    ("S004", "invalid-choice", "error", "A value is not one of the allowed ones."),
    ("S005", "invalid-value", "error", "A value is out of range or has the wrong form."),
    ("S006", "conflicting-keys", "error", "Two keys exclude each other, or one of several is needed."),
    ("S007", "unknown-format", "error", "The format version is not one that this engine reads."),
    ("R001", "unknown-adapter", "error", "A name is not one of the bundle's adapters."),
    ("R002", "unknown-tool", "error", "A name is not one of the bundle's tools."),
    ("R003", "unknown-context", "error", "A name is not one of the bundle's context providers."),
    ("R004", "unknown-plugin", "error", "The model plugin does not exist."),
    ("R005", "duplicate-tool", "error", "Two tools have the same name."),
    ("R006", "unknown-language", "error", "The language is not one that discovery reads."),
    ("R007", "unknown-node-type", "error", "The node type does not exist in the bundle's languages."),
    ("R008", "bad-query", "error", "A tree-sitter query does not compile."),
    ("R009", "bad-expression", "error", "An expression has a syntax error or an unknown name."),
    ("R010", "bad-param", "error", "A parameter's schema or default is not valid."),
    ("R011", "no-termination-tool", "error", "The loop's termination tool is not one of the bundle's tools."),
    ("R012", "duplicate-context", "error", "Two context providers have the same name."),
    ("R013", "duplicate-bundle", "error", "Two bundles of a catalog have the same name."),
    ("P001", "template-syntax", "error", "A template has a syntax error."),
    ("P002", "undefined-variable", "error", "A template uses a variable that does not exist."),
    ("P003", "unknown-attribute", "error", "A template uses an attribute that does not exist."),
    ("P004", "include-outside", "error", "A template includes a file that is not in the bundle."),
    ("P005", "unknown-filter", "error", "A template uses a filter or test that does not exist."),
    ("P006", "template-failed", "error", "A template extends itself, fails while rendering or does too much work."),
    ("T001", "script-syntax", "error", "A script is not valid Python."),
    ("T002", "unsupported-construct", "error", "A script uses Python that the sandbox does not run."),
    ("T003", "import-not-allowed", "error", "A script imports a module that the sandbox does not have."),
    ("T004", "bad-input", "error", "An Input declaration is not valid."),
    ("T005", "bad-external", "error", "An @external declaration is not valid."),
    ("T006", "script-type", "error", "The type checker rejects a script."),
    ("T007", "unknown-external", "error", "A script declares an external that the engine does not provide."),
    ("T008", "unknown-input", "error", "The manifest names an input that the script does not declare."),
    ("T009", "no-result", "warning", "A script's last statement is not an expression, so its result is None."),
    ("T010", "suspicious-construct", "warning", "A script uses a construct that behaves differently in the sandbox."),
    ("T011", "bad-annotation", "error", "An annotation cannot become a JSON Schema."),
    ("T012", "bad-tool-name", "error", "A tool's name cannot be used in a call."),
    ("T013", "tool-not-available", "error", "A tool is of a kind that this engine does not run."),
    ("G001", "unknown-strategy", "error", "The grammar strategy or its version does not exist."),
    ("G002", "grammar-file", "error", "strategy custom and a grammar file belong together."),
    ("G003", "invalid-grammar", "error", "A grammar does not compile."),
    ("G004", "schema-not-expressible", "error", "A tool's schema says something that the grammar cannot enforce."),
    ("G005", "unsupported-mode", "error", "The model plugin does not support the grammar mode."),
    ("G006", "checked-after-parsing", "warning", "A grammar does not hold what a tool's schema says; a check does."),
    ("G007", "fits-one-server", "warning", "A grammar of the bundle's own works on some servers only."),
    ("A001", "external-not-permitted", "error", "A script declares an external that the permissions do not allow."),
    ("A002", "bad-pattern", "error", "A permission pattern is empty, absolute or leaves the project."),
    ("A003", "bad-command", "error", "An allowed command is empty or names a shell."),
    ("C001", "duplicate-case", "error", "Two cases of a bundle have the same name."),
    ("C002", "case-file-missing", "error", "The file that a case names is not in the bundle."),
    ("C003", "case-param", "error", "A case gives a param that does not exist, or a value that does not fit."),
    ("C004", "case-tool", "error", "A case expects a tool that the bundle does not have."),
    ("C005", "case-pattern", "error", "A regular expression of a case does not compile."),
    ("C006", "case-argument", "error", "A case expects an argument that a tool's schema does not allow."),
    ("C007", "no-cases", "warning", "No file of the bundle matches the glob of its cases."),
    ("C008", "case-path", "error", "A path of a case is absolute, leaves its project or names a folder."),
    ("C009", "case-language", "error", "A case's snippet is in a language that the bundle does not take."),
)

CODES: dict[str, Code] = {row[0]: Code(*row) for row in _ROWS}  # type: ignore[arg-type]
