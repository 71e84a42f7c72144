"""Hostile templates reach nothing and can neither hang nor fill the memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.errors import PromptError
from engine.prompts import RenderLimits, Templates

REACH = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''['__cla' ~ 'ss__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ [''.upper]|map('attr', '__self__')|list }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ ['']|groupby('__class__') }}",
    "{{ ['']|sort(attribute='__class__') }}",
    "{{ ['']|selectattr('__class__')|list }}",
    "{{ ['']|sum(attribute='__class__') }}",
    "{{ ['']|join(attribute='__class__') }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ ''.format }}",
    "{{ ('{0.__class__}'|e).format('') }}",
    "{{ '%s' % ''.upper }}",
    "{{ ''.upper.__self__ }}",
    "{{ ''.encode('utf-8').hex() }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ range.__init__ }}",
    "{{ dict.fromkeys }}",
    "{{ namespace.__class__ }}",
    "{% set ns = namespace() %}{{ ns.__class__ }}",
    "{% set ns = namespace() %}{{ ns._Namespace__attrs }}",
    "{% set ns = namespace() %}{{ ns.__init__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}{{ m._func }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% for x in [1] %}{{ loop._iterator }}{% endfor %}",
    "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{{ lipsum() }}",
    "{{ cycler('a') }}",
    "{{ joiner() }}",
    "{{ config }}",
    "{{ environment }}",
    "{{ context.environment }}",
    "{{ caller }}",
    "{{ x.append(1) }}",
    "{{ x.sort() }}",
    "{{ d.update({'a': 1}) }}",
    "{{ d.pop('a') }}",
    "{{ x.__setitem__(0, 1) }}",
    "{{ ''|pprint }}",
    "{{ [1, 2]|random }}",
    "{{ (1).__class__ }}",
    "{{ (1).real.__class__ }}",
    "{{ none.__class__ }}",
    "{{ d.values.__self__ }}",
    "{{ ().__class__.__base__ }}",
    "{{ x|map('map', attribute='__class__')|list }}",
    "{% import 'os' as os %}",
    "{% include ['/etc/passwd', '/etc/hostname'] %}",
    "{% extends '/etc/passwd' %}",
    "{{ ''.upper }}",
    "{{ range }}",
    "{% macro m() %}{% endmacro %}{{ m }}",
    "{{ self }}",
    "{{ self|lower }}",
    "{{ range(3)|map('string')|upper }}",
    "{{ range(3)|map('string')|truncate }}",
    "{{ self|urlencode }}",
    "{{ 'x' if self is upper else 'y' }}",
    "{{ '%s'|format(self) }}",
    "{{ [self] }}",
    "{{ dict(a=self) }}",
    "{% set ns = namespace() %}{{ ns }}",
]


def grow(start: str, step: str, end: str = "") -> str:
    """Return a template that doubles a value 64 times."""
    return "{% set ns = namespace(x=" + start + ") %}{% for i in range(64) %}" + step + "{% endfor %}" + end


BOMBS = [
    "{% for a in range(100000) %}" * 3 + "{% endfor %}" * 3,
    "{% for a in 'aaaaaaaaaa' %}" * 12 + "x" + "{% endfor %}" * 12,
    "{% for a in [1,2,3,4,5,6,7,8,9,0] %}" * 12 + "x" + "{% endfor %}" * 12,
    "{{ range(10**12) }}",
    "{{ range(10**12)|list }}",
    "{{ range(99999)|list|tojson }}" * 400,
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [1] * 10**9 }}",
    "{{ 'a' * 4000000 * 4000000 }}",
    "{{ 2**(10**9) }}",
    "{{ 9**(9**9) }}",
    "{{ (10**9999) ** 9999 }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '%.999999999f' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '%(a)999999999s' % {'a': 1} }}",
    "{{ '%(a(b)c)999999999s' % {'a(b)c': 1} }}",
    "{{ '%0999999999d'|format(1) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ 'a'|indent(10**9, true) }}",
    "{{ ('\n' * 4000000)|indent(1000, true, true) }}",
    "{{ ('a' * 2000)|replace('', 'b' * 4000000) }}",
    "{{ ('a' * 2000).replace('', 'b' * 4000000) }}",
    "{{ ('a' * 4000000).join(['b'] * 4000) }}",
    "{{ (['b'] * 4000)|join('a' * 4000000) }}",
    "{{ ('a ' * 30000)|wordwrap(1, wrapstring='b' * 1000000) }}",
    "{{ [1]|batch(10**9, 'x')|list }}",
    "{{ [1]|batch(linecount=10**9, fill_with='x')|list }}",
    "{{ [1]|slice(10**9)|list }}",
    "{{ [1]|tojson(indent=10**9) }}",
    "{{ 5|round(-10**9) }}",
    "{{ 5|round(10**9, 'ceil') }}",
    grow("'ab'", "{% set ns.x = ns.x ~ ns.x %}"),
    grow("'ab'", "{% set ns.x = ns.x + ns.x %}"),
    grow("'ab'", "{% set ns.x = '%s%s' % (ns.x, ns.x) %}"),
    grow("'ab'", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    grow("[1]", "{% set ns.x = [ns.x, ns.x] %}", "{{ ns.x }}"),
    grow("(1,)", "{% set ns.x = (ns.x, ns.x) %}", "{{ ns.x == 1 }}"),
    grow("{}", "{% set ns.x = {'a': ns.x, 'b': ns.x} %}", "{{ ns.x|tojson }}"),
    grow("{}", "{% set ns.x = dict(a=ns.x, b=ns.x) %}", "{{ ns.x }}"),
    grow("[1]", "{% set ns.x = ns.x * 2 %}"),
    grow("[1]", "{% set ns.x = ([ns.x]|batch(9, ns.x)|list) %}", "{{ ns.x }}"),
    grow("3", "{% set ns.x = ns.x * ns.x %}", "{{ ns.x }}"),
    "{% set ns = namespace(x=3) %}{% for i in range(9) %}{% set ns.x = ns.x ** ns.x %}{% endfor %}{{ ns.x }}",
    "{% set a = namespace() %}{% set a.x = [a] %}{{ a.x }}",
    grow("1", "{% set ns2 = namespace(x=ns.x, y=ns.x) %}{% set ns.x = ns2 %}", "{{ ns.x|lower }}"),
    grow("1", "{% set ns2 = namespace(x=ns.x, y=ns.x) %}{% set ns.x = ns2 %}", "{{ ns.x is upper }}"),
    grow("1", "{% set ns2 = namespace(x=ns.x, y=ns.x) %}{% set ns.x = ns2 %}", "{{ '%s' % ns.x }}"),
    grow("1", "{% set ns2 = namespace(x=ns.x, y=ns.x) %}{% set ns.x = ns2 %}", "{{ ns.x|tojson }}"),
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m(x, n) %}{% if n %}{{ m([x, x], n - 1) }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ m([1], 60) }}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{% include 'main.j2' %}",
    "{% include 'main.j2' %}{% include 'main.j2' %}",
    "{% extends 'main.j2' %}",
    "{% import 'main.j2' as m %}",
    "{% for a in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    "{% for a in range(99999) %}" + "x" * 9000 + "{% endfor %}",
    "{% set x %}{% for a in range(99999) %}" + "x" * 9000 + "{% endfor %}{% endset %}",
    "{{ ([[1]] * 400000)|sum(start=[]) }}",
    "{{ range(99999)|map('string')|map('center', 9999)|join }}",
    "{{ '" + "9" * 4000 + "'|int ** 99 }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "[" * 300 + "x" + "]" * 300 + " }}",
    "{{ " + "-" * 20000 + "1 }}",
    "{{ " + " + ".join(["1"] * 20000) + " }}",
    "{{ " + " ~ ".join(["'a'"] * 20) + "|nope }}",
    "{% if true %}" * 500 + "{% endif %}" * 500,
    "{{ 'x'" + "|upper" * 5000 + " }}",
    "a" * (1024 * 1024 + 1),
]


def outcome(text: str, seconds: float = 2.0) -> str:
    """Render a template that must fail, within the work that the budget allows and a little more."""
    templates = Templates({"main.j2": text}, "demo", RenderLimits(seconds=seconds))
    began = time.thread_time()  # of this thread alone: other load is not the template's
    with pytest.raises(PromptError) as caught:
        templates.render("main.j2", {"x": [1, 2], "d": {"a": 1}, "context": {}})
    assert time.thread_time() - began < seconds + 2
    assert caught.value.diagnostics[0].span.file == "demo/main.j2"
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("text", REACH)
def test_nothing_outside_is_reachable(text: str) -> None:
    message = outcome(text)
    assert "object at 0x" not in message
    assert "<class" not in message


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:60])
@pytest.mark.filterwarnings("ignore")  # Python's own compiler warns about some of these
def test_bombs_do_not_go_off(text: str) -> None:
    outcome(text, seconds=0.3)


def test_bombs_do_not_fill_the_memory() -> None:
    """All of them, one after the other, in a process of their own whose greatest size is measured."""
    code = (
        "import resource, warnings; warnings.simplefilter('ignore')\n"
        "import test_prompts_hostile as hostile\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for text in hostile.BOMBS: hostile.outcome(text, seconds=0.3)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 400 * 1024  # KiB


def test_the_default_limits_end_a_long_loop() -> None:
    message = outcome("{% for a in range(99999) %}{{ range(999)|list|length }}{% endfor %}")
    assert "more work than allowed" in message or "longer than 2 s" in message


def test_immutable_values_stay_as_they_are() -> None:
    values = {"x": [3, 1, 2], "d": {"a": [1]}}
    Templates({"a": "{{ x|sort }}{{ x|reverse|list }}{{ d.a + [2] }}"}, "r").render("a", values)
    assert values == {"x": [3, 1, 2], "d": {"a": [1]}}


def test_a_render_leaves_nothing_behind_for_the_next() -> None:
    templates = Templates({"a": "{% set x = [1] %}{{ y is defined }}", "b": "{% set y = 1 %}{{ y }}"}, "r")
    assert [templates.render("b", {}), templates.render("a", {}), templates.render("b", {})] == ["1", "False", "1"]
