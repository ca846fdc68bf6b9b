"""What may be asked for a job right now, and the keys that ask for it. Pure; the counter has the last word."""

from __future__ import annotations

from typing import NamedTuple

from download_worker.jobs.job import Job, Status


class Key(NamedTuple):
    """A key as the bars and the help show it. `rare` ones give way in a narrow bar."""

    key: str
    sign: str
    label: str
    action: str
    explained: str
    rare: bool = False

    @property
    def verb(self) -> str:
        """The action without its parameters."""
        return self.action.partition("(")[0]


RETRY = Key("r", "r", "Retry", "retry", "try the selected failed job again")
CANCEL = Key("c", "c", "Cancel", "cancel", "cancel the selected job (asks first)")
PAUSE = Key("p", "p", "Pause", "pause", "pause or resume the selected job")
SOONER = Key("plus", "+", "Sooner", "priority(1)", "raise its priority", rare=True)
LATER = Key("minus", "-", "Later", "priority(-1)", "lower its priority", rare=True)
COPY = Key("u", "u", "Copy", "copy_url", "copy its URL, where the terminal allows it", rare=True)
QUEUE = Key("P", "P", "Queue", "pause_queue", "pause or resume the whole queue")
RETRY_ALL = Key("R", "R", "Retry all", "retry_failed", "retry every failed job (asks first)", rare=True)
SEARCH = Key("slash", "/", "Search", "search", "search in file, folder and host")
FILTER = Key("f", "f", "Filter", "filter", "show all, live, failed or done jobs")
NEXT = Key("n", "n", "Next", "turn(1)", "next page", rare=True)
BACK = Key("b", "b", "Back", "turn(-1)", "page before", rare=True)
READ = Key("enter", "⏎", "Detail", "read", "everything about the selected job")
CLOSE = Key("escape", "esc", "Close", "close", "close the detail or the search")
HELP = Key("question_mark", "?", "Help", "help", "this page")
QUIT = Key("q", "q", "Quit", "quit", "leave; the worker goes on")

BAR = (RETRY, CANCEL, PAUSE, SOONER, LATER, COPY, QUEUE, RETRY_ALL, SEARCH, FILTER, READ, CLOSE, HELP, QUIT)
PANE = (RETRY, CANCEL, PAUSE, SOONER, LATER, COPY)
ALL = (*BAR[:-2], NEXT, BACK, HELP, QUIT)


def offered(action: str, job: Job | None) -> bool:
    """Whether an action makes sense for this job; actions that need none always do."""
    match action:
        case "retry":
            return job is not None and job.status is Status.FAILED
        case "cancel":
            return job is not None and job.live and not job.cancel_requested and not job.promoting
        case "pause" | "priority":
            return job is not None and job.live
        case "copy_url" | "read":
            return job is not None
    return True
