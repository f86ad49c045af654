"""Files of a Hub repository at a pinned commit; `huggingface_hub` does the transfer and resumes it.

Knows no cache layout and no model.
"""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

from toolgen.errors import FetchError
from toolgen.fetching.artifacts import HubSource

PROBE_SECONDS = 2.0


def is_reachable(hub: HubSource) -> bool:
    """Whether the Hub (or the mirror that HF_ENDPOINT names) answers for this repository, within two seconds.

    False when HF_HUB_OFFLINE is set. A thread, because a name lookup without a network has no timeout of its own.
    """
    from urllib.request import Request, urlopen

    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        return False
    url = hf_hub_url(hub.repo_id, "config.json", revision=hub.revision)
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
                answers.append(True)
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 0.5)
    return bool(answers and answers[0])


def download_snapshot(hub: HubSource, folder: Path) -> None:
    """The files of the pinned commit in `folder`, which may hold what an interrupted download left.

    FetchError when the Hub fails; a full disk stays an OSError.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(hub.repo_id, revision=hub.revision, local_dir=folder, allow_patterns=list(hub.files))
    except Exception as error:  # the client raises its own, its HTTP library's and plain OSErrors
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        reason = " ".join(str(error).split())
        raise FetchError(f"could not download {hub.repo_id} from the Hub: {type(error).__name__}: {reason}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
