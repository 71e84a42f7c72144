"""What a script can learn of its node: told from its source, never too little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.run.cache.metadata import metadata_keys

HEAD = """\
from grail import external


@external
async def get_node_metadata() -> dict:
    ...


"""


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ("1", set()),
        ("(await get_node_metadata())['name']", {"name"}),
        ("(await get_node_metadata()).get('start_line', 0)", {"start_line"}),
        ("node = await get_node_metadata()\nnode['type'] + node['name']", {"type", "name"}),
        ("node: dict = await get_node_metadata()\nother = node\nother['file_path']", {"file_path"}),
        (
            """def told(text, node):
    return text + node['name'] + more(node)


def more(facts):
    return facts['type']


told('a', await get_node_metadata())""",
            {"name", "type"},
        ),
        ("def f(node):\n    return f(node) if node['name'] else 1\n\n\nf(await get_node_metadata())", {"name"}),
    ],
)
def test_the_keys_that_are_read(body, keys):
    assert metadata_keys(HEAD + body) == keys


@pytest.mark.parametrize(
    "body",
    [
        "await get_node_metadata()",
        "node = await get_node_metadata()\n{'result': node}",
        "str(await get_node_metadata())",
        "[*(await get_node_metadata())]",
        "for key in await get_node_metadata():\n    key",
        "key = 'name'\n(await get_node_metadata())[key]",
        "(await get_node_metadata()).get(key)",
        "(await get_node_metadata()).items()",
        "ask = get_node_metadata\n(await ask())['name']",
        "node, other = await get_node_metadata(), 1",
        "f'{await get_node_metadata()}'",
        "kept = [await get_node_metadata()]\nkept[0]['name']",
        "def told(*nodes):\n    return nodes\n\n\ntold(await get_node_metadata())",
        "def told(node):\n    return node['name']\n\n\ntold(node=await get_node_metadata())",
        "def told(a, node):\n    return a\n\n\ntold(*[1], await get_node_metadata())",
        "def a(node):\n    return node['x']\n\n\ndef a(node):\n    return node\n\n\na(await get_node_metadata())",
        "def told(node):\n    return node['name']\n\n\ntold = str\ntold(await get_node_metadata())",
        "this is no script",
    ],
)
def test_in_doubt_it_is_all(body):
    assert metadata_keys(HEAD + body) is None


_NAMES = st.sampled_from(["start_line", "end_line", "name", "type"])
_WAYS = ("node['{}']", "node.get('{}')", "held['{}']", "of(node) + node['{}']", "of(held) + held['{}']")


@given(st.lists(st.tuples(st.sampled_from(_WAYS), _NAMES), min_size=1), _NAMES)
def test_every_key_that_a_script_reads_is_among_them(reads, inner):
    lines = [f"def of(facts):\n    return facts['{inner}']\n\n", "node = await get_node_metadata()", "held = node"]
    lines += [f"x{number} = {way.format(name)}" for number, (way, name) in enumerate(reads)]
    called = any(way.startswith("of(") for way, _ in reads)
    read = {name for _, name in reads} | ({inner} if called else set())
    assert metadata_keys(HEAD + "\n".join(lines)) == read
