"""What a Textual screen shows, as text."""

import asyncio
import re


def text_of(shown):
    strips = shown.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def see(shown, pattern, *, gone=False):
    """Wait until the screen shows a pattern, or does not any more."""
    try:
        async with asyncio.timeout(15):
            while bool(re.search(pattern, text_of(shown), re.DOTALL)) == gone:  # noqa: ASYNC110 - nobody tells of drawing
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{'still' if gone else 'never'} {pattern}:\n{text_of(shown)}") from None
    return text_of(shown)
