"""`make bad-inputs`: 100,000 bad inputs through the doors that there are. With a door and numbers, only those.

python -m tests.bad_inputs.run            # all
python -m tests.bad_inputs.run http 500   # the first 500 of one door
python -m tests.bad_inputs.run http 17 42 # these two
"""

import sys
import time

import anyio

from tests.bad_inputs.doors import DOORS, Tried

COUNTS = {"stdin": 25_000, "http": 12_000, "config": 25_000, "upstream": 12_000, "server": 20_000, "web": 6_000}


async def try_all(counts: dict[str, range | list[int]]) -> dict[str, Tried]:
    """Try the doors one after the other."""
    tried: dict[str, Tried] = {}
    for door, numbers in counts.items():
        began = time.monotonic()
        tried[door] = found = await DOORS[door](numbers)
        took = time.monotonic() - began
        sys.stdout.write(f"{door}: {found.inputs:,} inputs, {len(found.faults)} faults, {took:.0f} s\n")
        sys.stdout.write("".join(f"  {fault}\n" for fault in found.faults[:40]))
        sys.stdout.flush()
    return tried


def main(words: list[str]) -> int:
    numbers = [int(word) for word in words[1:]]
    chosen: dict[str, range | list[int]] = {door: range(count) for door, count in COUNTS.items()}
    if words:
        chosen = {words[0]: range(numbers[0]) if len(numbers) == 1 else numbers or chosen[words[0]]}
    tried = anyio.run(try_all, chosen)
    inputs, faults = sum(each.inputs for each in tried.values()), sum(len(each.faults) for each in tried.values())
    sys.stdout.write(f"{inputs:,} bad inputs, {faults} faults\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
