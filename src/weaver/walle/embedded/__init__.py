"""A PostgreSQL that is simply there: started by its first user, stopped after its last one, with no service to set up.

`attach()` is all that others need. Importing this imports the standard library alone. docs/database.md has the promises.
"""

from __future__ import annotations

from weaver.home import data_folder
from weaver.walle.embedded.attachment import Attachment, attach

__all__ = ["Attachment", "attach", "data_folder"]
