"""Compare the results of two working copies: `python experiments/same_numbers/compare.py OUT_A OUT_B`."""

import json
import sys
from pathlib import Path


def main() -> None:
    """Print the differences. The exit status is 1 if there are any."""
    first, second = (json.loads((Path(out) / "bits.json").read_text()) for out in sys.argv[1:3])
    different = [name for name in first if name in second and first[name] != second[name]]
    print(f"{len(first.keys() & second.keys())} values, {len(different)} differ")
    for name in different:
        print(f"{name}: {first[name]} | {second[name]}")
    for title, names in (("only in the first", first.keys() - second), ("only in the second", second.keys() - first)):
        print(f"{title}: {len(names)}", *sorted(names)[:20])
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
