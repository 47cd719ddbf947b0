"""Embedded PostgreSQL: a bundled server that starts on demand and shuts down when nothing uses it. No service to set up.

Other packages need `attach()` only. See docs/database.md for its guarantees.
"""

from __future__ import annotations

from weaver.home import data_folder
from weaver.walle.embedded.attachment import Attachment, attach

__all__ = ["Attachment", "attach", "data_folder"]
