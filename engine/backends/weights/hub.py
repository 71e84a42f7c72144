"""Fetches a file from the Hugging Face hub with its own library (resume, tokens, mirrors through HF_ENDPOINT)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.backends.weights.download import DownloadError, Progress
from engine.backends.weights.store import file_sha256
from engine.backends.weights.table import HubSource, WeightsSpec
from engine.errors import ConfigError, MissingExtraError


def pull_hub(spec: WeightsSpec, source: HubSource, target: Path, progress: Progress | None) -> None:
    """Download into a folder beside `target`, check, and move into place.

    The hub's library draws its own progress bar; without `progress` it is silent.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ConfigError: The file cannot be fetched or is not what it should be.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise MissingExtraError(f"the model {spec.name!r}", "local") from error
    (enable_progress_bars if progress is not None else disable_progress_bars)()
    folder = target.with_name(f".{spec.name}.hub")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        got = Path(hf_hub_download(source.repository, source.file, local_dir=folder, endpoint=endpoint))
    except Exception as error:
        raise ConfigError(_explain(error, spec, source, target, endpoint)) from error
    if file_sha256(got) != spec.sha256:
        shutil.rmtree(folder)
        raise DownloadError(
            f"{source.repository}/{source.file} is not the file it should be (its sha256 differs): try again, "
            f"or look at the endpoint {endpoint or 'of the hub'}"
        )
    got.replace(target)
    shutil.rmtree(folder)


def _explain(error: Exception, spec: WeightsSpec, source: HubSource, target: Path, endpoint: str | None) -> str:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    where = f" at {endpoint}" if endpoint else ""
    return (
        f"{source.repository}/{source.file}{where} cannot be fetched: {type(error).__name__}: {reason}. "
        f"Try again (it goes on where it stopped), set HF_ENDPOINT to a mirror, or put the file at {target} yourself: "
        f"{spec.size:,} bytes, sha256 {spec.sha256}"
    )
