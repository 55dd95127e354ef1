"""The hub: what a repository holds, and its files. What is asked, and with which token, mirror, proxy and
time limit, is huggingface-hub's own business (HF_ENDPOINT, HF_TOKEN, …)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from gateway import __version__
from gateway.hub.errors import PullError
from gateway.hub.plan import Listing, RemoteFile

_SUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A commit or a checksum. What was begun is named by one, so it must be nothing else, such as a path."""

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


class Hub:
    """Raises PullError for all that goes wrong on the way."""

    def __init__(self) -> None:
        self._api = HfApi(library_name="axgate", library_version=__version__)
        disable_progress_bars("huggingface_hub.http_get")

    def listing(self, repository: str, revision: str | None) -> Listing:
        """`revision`: a branch, tag or commit; None for the main branch. A file whose name cannot be shown is
        left out: no package has one, and a terminal would do what it says."""
        with _asking(repository, f"the files of {repository}"):
            info = self._api.model_info(
                repository, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        commit = info.sha or ""
        shown = [each for each in info.siblings or () if each.rfilename.isprintable()]
        return Listing(repository, commit, tuple(_file(repository, commit, each) for each in shown))

    def fetch(self, file: RemoteFile, target: BinaryIO, num_there: int) -> None:
        """Append to `target` what is missing behind its first `num_there` bytes."""
        url = hf_hub_url(file.repository, file.path, revision=file.commit)
        headers = build_hf_headers(library_name="axgate", library_version=__version__)
        headers["Accept-Encoding"] = "identity"  # a place to go on from is one in the file itself
        with _asking(file.repository, f"{file.path} of {file.repository}"):
            http_get(url, target, resume_size=num_there, headers=headers)


def _file(repository: str, commit: str, told: RepoSibling) -> RemoteFile:
    sha256 = None if told.lfs is None else told.lfs.sha256
    sums = [commit, told.blob_id or "", *([] if sha256 is None else [sha256])]
    if told.size is None or told.size < 0 or told.blob_id is None or not all(map(_SUM.fullmatch, sums)):
        raise PullError(
            f"{constants.ENDPOINT} does not tell commit, size and checksum of the files of {repository}."
        )
    return RemoteFile(repository, commit, told.rfilename, told.size, told.blob_id, sha256)


@contextmanager
def _asking(repository: str, what: str) -> Iterator[None]:
    hub = constants.ENDPOINT
    try:
        yield
    except PullError:
        raise
    except GatedRepoError:
        raise PullError(
            f"{repository} is gated: accept its terms at {hub}/{repository} and {LOG_IN}."
        ) from None
    except RepositoryNotFoundError:
        raise PullError(
            f"There is no repository {repository} at {hub}, or it is private: then {LOG_IN}."
        ) from None
    except RevisionNotFoundError:
        raise PullError(f"{repository} has no such revision.") from None
    except HFValidationError:
        raise PullError(f"{repository} is not the name of a repository, which is OWNER/NAME.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = f"; {LOG_IN}" if status in (401, 403) else ""
        raise PullError(f"{hub} answered {status} when asked for {what}{hint}.") from None
    except OfflineModeIsEnabled:
        raise PullError(f"HF_HUB_OFFLINE is set, so {what} cannot be fetched.") from None
    except OSError as error:
        if error.errno is None:
            raise _unreachable(hub, what, error) from None
        raise  # of the disk
    except Exception as error:  # what a broken connection raises depends on the version: httpx, httpx2, …
        raise _unreachable(hub, what, error) from None


def _unreachable(hub: str, what: str, error: Exception) -> PullError:
    reason = str(error).strip() or type(error).__name__
    return PullError(f"{what[0].upper()}{what[1:]} cannot be had from {hub}: {reason.splitlines()[0]}.")
