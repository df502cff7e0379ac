"""Protections of what a repair must not take for gone, for its own, or for done."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

DOUBTFUL = "tests/cli/verify/test_doubtful_ids.py::"

ABOUT_NOTHING = "outbox/operations/verify/about_nothing.py"
UNNAMED = "outbox/message/unnamed.py"

MUTATIONS = [
    # documents that are there
    Mutation(
        "what is before the types that keys name is looked at", "G1", UNNAMED,
        "        yield low, begin\n", "",
        f"{DOUBTFUL}test_one_document_among_very_many_of_another_type",
    ),
    Mutation(
        "a binary id of another subtype is none that a key names", "G1", UNNAMED,
        "found += await _of_other_subtypes(collection)", "pass",
        f"{DOUBTFUL}test_binary_of_another_subtype",
    ),
    Mutation(
        "a UUID of an older form is none that a key names", "G1", UNNAMED,
        "[(Binary(bytes(16), 4), Binary(bytes(16), 5))]", "[(_BINARY, _OBJECT_IDS)]",
        f"{DOUBTFUL}test_binary_of_another_subtype",
    ),
    Mutation(
        "a key that append has read is a key all the same", "G1", ABOUT_NOTHING,
        'bool(message["subject"] == named_by_key(stream, str(message.get("key"))))', "False",
        f"{DOUBTFUL}test_a_key_that_append_has_read_is_a_key_all_the_same",
    ),
    Mutation(
        "an id that a key could be read as in another way may be the document's", "G1", ABOUT_NOTHING,
        "ids = [*ids, *readings(str(message.get(\"key\")))]", "pass",
        f"{DOUBTFUL}test_an_id_that_is_read_otherwise",
    ),
    Mutation(
        "an id may be stored as other programs write it", "G1", ABOUT_NOTHING,
        "[other for id_ in ids for other in _alike(id_)]", "ids",
        f"{DOUBTFUL}test_an_id_that_is_read_otherwise",
    ),
    Mutation(
        "a message that names no id is not about something that is gone", "G1", ABOUT_NOTHING,
        "[each for each in page if ids_of(subject, each)]", "page",
        f"{DOUBTFUL}test_an_id_that_is_read_otherwise",
    ),
    Mutation(
        "what MongoDB takes for the same id is the same", "G1", ABOUT_NOTHING,
        "if not asked or not await is_there(id_ for ids in asked.values() for id_ in ids):", "if True:",
        f"{DOUBTFUL}test_a_collection_that_compares_texts_in_its_own_way",
    ),
    Mutation(
        "a view is not taken for all there is", "G1", ABOUT_NOTHING,
        "        if types is None:\n            continue\n", "",
        f"{DOUBTFUL}test_a_view_may_hide_what_is_there",
    ),
]  # fmt: skip
