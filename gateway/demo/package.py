"""The demo model as a package: exported once, and kept where caches are kept."""

import logging
from hashlib import sha256
from pathlib import Path

from backends.export import ExportError, ExportOptions, export_package
from gateway import __version__
from gateway.demo import CHECKPOINT, MODEL_NAME

log = logging.getLogger(__name__)


def demo_package(cache_dir: Path) -> Path:
    """The package's folder, made on first use and again when the checkpoint or this program has changed.
    Raises ExportError, OSError."""
    folder = cache_dir.expanduser() / f"demo-{_digest(CHECKPOINT)}" / MODEL_NAME
    if not folder.exists():
        _export(folder)
    return folder


def _export(folder: Path) -> None:
    log.info("exporting the demo model to %s", folder)
    try:
        export_package(CHECKPOINT, folder, ExportOptions(), lambda *_: None)
    except (ExportError, OSError):
        if not folder.exists():  # else another process was faster
            raise


def _digest(checkpoint: Path) -> str:
    digest = sha256(__version__.encode())
    for file in sorted(checkpoint.iterdir()):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
