"""All benchmarks, one after the other: `python -m bench`. Each prints its ratios on one line."""

from bench import append, catch_up, deactivation, token

if __name__ == "__main__":
    append.main()
    catch_up.main()
    deactivation.main()
    token.main()
