"""The second row of `make fuzz`: a search for the most expensive request.

It starts from shapes that cost much once, changes them, and goes on from those that come nearest to
what a request may cost. It runs the api in this process, so that CPU time is exact. A
request that breaks a bound is measured again, in turns with ordinary events; the cheapest of each
are compared.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from random import Random, SystemRandom
from typing import Final, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("fuzz", "bench", "support")]

from expensive import searches, writes
from expensive.bounds import Baseline, Rating, rate, rate_in_turns
from expensive.service import Sample, Service
from ocelot_common.process import tune_garbage_collector

Recipe = writes.Write | searches.Search

#: The recipes from which mutations start, the nearest to their bounds.
POOL: Final = 24
#: A request over its bound is measured so often again.
REPEATS: Final = 7
SHOWN: Final = 12


class Found(NamedTuple):
    """A request and how near it comes to its bound."""

    recipe: Recipe
    sample: Sample
    rating: Rating


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def search(service: Service, random: Random, *, until: float) -> list[Found]:
    """The worst requests found, of one pool for writes and one for searches."""
    tried = 0
    pools: dict[type[Recipe], list[Found]] = {writes.Write: [], searches.Search: []}
    seeds: list[Recipe] = [*writes.SEEDS.values(), *searches.SEEDS.values()]
    baseline = await Baseline.measured(service)
    while time.monotonic() < until:
        if tried % 200 == 0:  # the machine's speed changes
            baseline = await Baseline.measured(service)
        if tried < len(seeds):
            recipe = seeds[tried]
        else:
            pool = pools[random.choice((writes.Write, writes.Write, searches.Search))]
            # The nearest to its bound the most often.
            recipe = pool[min(int(random.expovariate(0.25)), len(pool) - 1)].recipe.mutated(random)
        tried += 1
        sample = recipe.sample()
        found = Found(recipe, sample, await rate(service, sample, baseline))
        if found.rating.worst > 1:
            again = await rate_in_turns(service, sample, turns=REPEATS)
            found = found._replace(rating=again)
        pool = pools[type(recipe)]
        if all(each.recipe != recipe for each in pool):
            pool.append(found)
            pool.sort(key=lambda each: -each.rating.worst)
            del pool[POOL:]
    report(
        f"{tried:,} requests; ordinary events take {baseline.sec_per_byte * 1e9:.1f} ns per byte"
    )
    return sorted((each for pool in pools.values() for each in pool), key=lambda f: -f.rating.worst)


async def fuzz(arguments: argparse.Namespace) -> int:
    """Search, show the worst, and return how many break a bound."""
    report(f"seed {arguments.seed}: {arguments.minutes:g} minutes for the most expensive request")
    service = Service()
    await service.start()
    tune_garbage_collector()
    until = time.monotonic() + arguments.minutes * 60
    found = await search(service, Random(arguments.seed), until=until)
    await service.stop()
    for each in found[:SHOWN]:
        report(f"{each.rating}  {each.sample.plain_bytes:,} bytes: {shown(each.recipe)}")
    broken = [each for each in found if each.rating.worst > 1]
    report(f"{len(broken)} requests cost more than they may")
    return len(broken)


def shown(recipe: Recipe) -> str:
    """What differs from the plainest recipe of its kind."""
    plainest = type(recipe)()
    values = {name: getattr(recipe, name) for name in recipe.__struct_fields__}
    told = {
        name: value if len(repr(value)) < 100 else repr(value)[:100] + "…"
        for name, value in values.items()
        if value != getattr(plainest, name)
    }
    return f"{type(recipe).__name__}({', '.join(f'{name}={told[name]!r}' for name in told)})"


def main() -> None:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    sys.exit(1 if asyncio.run(fuzz(parser.parse_args())) else 0)


if __name__ == "__main__":
    main()
