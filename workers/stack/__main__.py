"""`python -m workers.stack`: make the Temporal server ready ahead of its first use, with progress lines."""

from __future__ import annotations

import asyncio
import sys

from workers.stack.settings import StackSettings
from workers.stack.temporal_source import TemporalMissing, resolve, say_to_stderr


def main() -> int:
    try:
        asyncio.run(resolve(StackSettings.from_environment()))
    except TemporalMissing as missing:
        say_to_stderr(str(missing))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
