"""`engine lsp` as a process, driven by a real client."""

from __future__ import annotations

from pathlib import Path

from lsp_client import editor


async def test_findings_come_while_typing(bundle: Path) -> None:
    prompt = bundle / "prompts/user.md.j2"
    async with editor(bundle.parent) as client:
        client.open(prompt)
        assert await client.codes_of(prompt) == []
        client.change(prompt, "{{ node.nme }}")
        assert await client.codes_of(prompt) == ["P003"]
        client.change(prompt, "{{ node.name }}")
        assert await client.codes_of(prompt) == []
    assert client.process.returncode == 0
    assert client.stderr == ""
