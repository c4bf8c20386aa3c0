"""The order in which a data set is read: every chat once per epoch, shards apart from each other."""

import random
from collections.abc import Sequence

LANES = 64  # at most, so that so many processes may read side by side


def lanes(count: int) -> int:
    """How many lanes `count` shards are dealt to: a power of two, for that is what processes are counted in."""
    return min(LANES, 1 << (max(1, count).bit_length() - 1))


def epoch_order(shards: Sequence[Sequence[int]], size: int, epoch: int, seed: int) -> list[int]:
    """The chats of `shards`, each once, in the order of an epoch in which batches of `size` are read.

    Shards are shuffled and dealt to lanes, and what is in a lane is shuffled. Batch i reads from lane i modulo lanes,
    so processes that take turns at batches each read shards that the others do not; where a lane runs out, the fullest
    one helps. The order is a function of the arguments alone, whatever the number of processes.
    """
    total = sum(map(len, shards))
    stream = random.Random(f"{seed}|{epoch}|chats")
    if len(shards) == 1:
        order = list(shards[0])
        stream.shuffle(order)
        return order
    dealt = list(range(len(shards)))
    stream.shuffle(dealt)
    waiting: list[list[int]] = [[] for _ in range(lanes(len(shards)))]
    for turn, shard in enumerate(dealt):
        waiting[turn % len(waiting)] += shards[shard]
    for lane in waiting:
        stream.shuffle(lane)
    order = []
    while len(order) < total:
        place = epoch * total + len(order)
        lane = waiting[place // size % len(waiting)]
        for _ in range(min(size - place % size, total - len(order))):
            order.append((lane or max(waiting, key=len)).pop())
    return order
