"""What the scripts beside this one share: measurements in turns, and how they are printed."""

import statistics
import sys


def in_turns(names, num_rounds, measure, images_per_second):
    """What `measure` found for each name, a value a round."""
    found = {name: [] for name in names}
    for round_ in range(num_rounds):
        for name in names:
            found[name].append(measure(name))
            print(f"round {round_ + 1}, {name}: {images_per_second(found[name][-1]):,.0f} images/s", file=sys.stderr)
    return found


def spread(values, digits=0):
    """Median (lowest to highest)."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def ratio(ours, theirs):
    """Round by round."""
    return spread([ours / theirs for ours, theirs in zip(ours, theirs)], 2)
