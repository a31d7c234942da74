"""The child process of a side: `python -m mlmctl.commands.bench.worker REQUESTS ANSWERS`.

The two numbers are open pipes. The first line that comes is the job; what is answered depends on it.
Whatever goes wrong is one last answer, `{"error": ...}`.
"""

from __future__ import annotations

import sys

from ...errors import MlmctlError, one_line
from .channel import Channel
from .sides import Job


def main(requests: int, answers: int) -> None:
    """Do one job; the process ends when the other end of the line is closed."""
    channel = Channel(requests, answers)
    try:
        _do(Job.from_json(channel.receive()), channel)
    except MlmctlError as error:
        channel.send({"error": str(error)})
        raise
    except Exception as error:
        channel.send({"error": f"{type(error).__name__}: {one_line(error)}"})
        raise


def _do(job: Job, channel: Channel) -> None:
    if job.kind == "ours":
        from . import ours

        ours.run(job, channel)
    elif job.kind == "limit":
        from . import limit

        limit.run(job, channel)
    else:
        from . import stock

        (stock.race if job.kind == "race" else stock.run)(job, channel)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
