"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends import pull


@pytest.fixture(scope="session")
def weights() -> Path:
    """The default model's file, fetched into the user's cache on first use."""
    return pull()
