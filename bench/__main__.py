"""All benchmarks, one after the other: `python -m bench`. Each prints its ratios on one line."""

from bench import (
    append,
    bootstrap,
    bulk_import,
    catch_up,
    counting,
    deactivation,
    lists,
    notifier,
    pages,
    sizes,
    token,
)

if __name__ == "__main__":
    append.main()
    bootstrap.main()
    bulk_import.main()
    catch_up.main()
    counting.main()
    deactivation.main()
    lists.main()
    notifier.main()
    pages.main()
    sizes.main()
    token.main([])
