"""The collections of the files application: set up by `outbox init --files`, checked when the API starts.

`files` and `idempotency_keys` and the GridFS bucket are in the application's database, what the API keeps of its
keys and sessions in the outbox's.
"""

from __future__ import annotations

from pymongo import ASCENDING, DESCENDING

from outbox.database import CONTENTS, FILES, IDEMPOTENCY, LOGOUTS, REFUSALS
from outbox.message.collection import Collection, Part, index

COLLECTIONS = (
    Collection(LOGOUTS, (index("expiry", ("until", ASCENDING), expireAfterSeconds=0),)),
    Collection(REFUSALS, (index("expiry", ("until", ASCENDING), expireAfterSeconds=0),)),
    Collection(
        FILES,
        (
            index("folder", ("folder_id", ASCENDING), ("_id", DESCENDING)),
            index("parsing", ("parsing", ASCENDING), ("_id", DESCENDING)),
            index("filename", ("filename", ASCENDING), ("_id", DESCENDING)),
        ),
    ),
    Collection(IDEMPOTENCY, (index("expiry", ("created_at", ASCENDING), expireAfterSeconds=24 * 3600),)),
    # What GridFS would create by itself at the first upload.
    Collection(f"{CONTENTS}.files", (index("filename_1_uploadDate_1", ("filename", 1), ("uploadDate", 1)),)),
    Collection(f"{CONTENTS}.chunks", (index("files_id_1_n_1", ("files_id", 1), ("n", 1), unique=True),)),
)
FILES_APPLICATION = Part(
    "files",
    COLLECTIONS,
    "choose another MONGODB_DATABASE for the files application, or --adopt-collection if the API is to go on with it",
)
