"""`python -m chartproof` is the same program as `chartproof`."""

from chartproof.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
