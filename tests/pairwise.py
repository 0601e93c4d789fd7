"""Few test cases in which every value of each factor meets every value of each other factor."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence


def pairwise(factors: Mapping[str, Sequence], allowed: Callable[[dict], bool], *, tries: int = 10) -> Iterator[dict]:
    """Cases {factor: value}, always the same ones, until every pair of values is covered that an allowed case has.

    Each case is the best of `tries`: built around a pair that is not covered yet, the other factors in random order,
    each with the value that covers most. Where no try gives an allowed case, values are drawn at random, 20 times as
    often, before the pair is given up.
    """
    draw = random.Random(0)
    names = list(factors)
    missing = {
        ((one, i), (other, j))
        for one, other in itertools.combinations(names, 2)
        for i in range(len(factors[one]))
        for j in range(len(factors[other]))
    }

    def pairs(chosen):
        return itertools.combinations([(name, chosen[name]) for name in names if name in chosen], 2)

    def built_around(pair, covering):
        chosen = dict(pair)
        for name in draw.sample(names, len(names)):
            if name not in chosen:
                values = draw.sample(range(len(factors[name])), len(factors[name]))
                chosen[name] = max(values, key=lambda value: news(chosen | {name: value})) if covering else values[0]
        return chosen

    def news(chosen):
        return sum(pair in missing for pair in pairs(chosen))

    def case(chosen):
        return {name: factors[name][chosen[name]] for name in names}

    while missing:
        pair = min(missing)
        tried = [chosen for chosen in (built_around(pair, True) for _ in range(tries)) if allowed(case(chosen))]
        if not tried:
            drawn = (built_around(pair, False) for _ in range(20 * tries))
            tried = [chosen for chosen in drawn if allowed(case(chosen))]
        if not tried:
            missing.remove(pair)
            continue
        best = max(tried, key=news)
        missing -= set(pairs(best))
        yield case(best)
