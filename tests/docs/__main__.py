"""`python -m tests.docs`: how many blocks each page has, and how each is shown to be right."""

from __future__ import annotations

from collections import Counter

from tests.docs.blocks import all_blocks

blocks = all_blocks()
modes = sorted({block.mode for block in blocks})
counts = {page: Counter(block.mode for block in blocks if block.page == page) for page in {b.page for b in blocks}}
counts["all"] = Counter(block.mode for block in blocks)
print(f"{'page':30}" + "".join(f"{mode:>12}" for mode in modes))
for page, count in sorted(counts.items(), key=lambda item: item[0] == "all"):
    print(f"{page:30}" + "".join(f"{count[mode] or '':>12}" for mode in modes))
