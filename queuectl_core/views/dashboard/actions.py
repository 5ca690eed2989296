"""What users can change, as the shell commands that do it.

An action is one or more commands of queuectl. Its page shows them, and a dashboard started with --read-write runs
exactly these, so a click and a command can't differ: the same checks, the same errors, the same locks.
"""

from __future__ import annotations

import subprocess

from ... import values
from ...errors import Refused
from ...lifecycle import WAITING, malformed, presentable
from ...store.schedules import schedule_named
from ...store.search import Search, matching
from ...suggestion import on_job
from ...typed import NamedTuple
from ...values import counted
from .frame import refused
from .markup import Markup, h, text, url
from .parts import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import List, Tuple

    from ...lifecycle import Job
    from .markup import Child
    from .view import View

    Commands = List[List[str]]  # The words of each, without "queuectl".
    Fields = Tuple[Tuple[str, str, str], ...]  # Of each input: its name, its label, and its value.

PATIENCE = 60  # Seconds for which a command can run: cancelling waits for the job to end.
MOST_LINES = 12  # Of what a command prints.
LONGEST_VALUE = values.LONGEST_COMMAND
SURE = "There is no way back."


class Question(NamedTuple):
    """What the page of an action asks.

    `yes` is its button, `no` the other one if saying yes destroys something, and `back` the page to return to.
    """

    title: str
    text: Child
    commands: Commands
    yes: str
    back: str
    no: str | None = None
    inputs: Fields = ()


def page(view: View, name: str) -> tuple[str, Markup]:
    """The page of an action; its title is "" if there is none."""
    question = _question(view, name)
    if question is None:
        return "", refused(view.frame, "There is no such action, or nothing for it to act on.")[1]
    frame = view.frame
    line = " && ".join(frame.shell.line(*words) for words in question.commands)
    is_first = question.no is None and frame.writes and not question.inputs
    yes = h("button", question.yes, type="submit", data_first=is_first or None,
            class_="button primary" + (" danger" if question.no else ""))  # fmt: skip
    no = h("a", question.no or ("Cancel" if frame.writes else "Close"), href=question.back, class_="button",
           data_close=True, data_first=(not is_first and not question.inputs) or None)  # fmt: skip
    hint = None if frame.writes else h(
        "p", "This dashboard is read-only. Run the command in a shell, or start the dashboard with ",
        h("code", "--read-write"), ".", class_="quiet")  # fmt: skip
    names = ("id", "queue", "label", "group", "schedule")
    hidden = [h("input", type="hidden", name=key, value=frame.query[key]) for key in names
              if key in frame.query and key not in [one for one, _, _ in question.inputs]]  # fmt: skip
    form = h(
        "form",
        *hidden,
        h("div", *[_input(*one) for one in question.inputs], class_="fields") if question.inputs else None,
        command(line) if line else h("p", h("span", h("code", "nothing to change yet"), class_="command")),
        hint,
        h("div", no, yes if frame.writes else None, class_="buttons"),
        method="post", action=f"/do/{name}", data_preview=bool(question.inputs) or None,
    )  # fmt: skip
    about = None if question.text is None else h("p", question.text, class_="quiet")
    return question.title, h("section", h("h1", question.title, id="question"), about, form, class_="ask")


def _input(name: str, label: str, value: str) -> Markup:
    if name == "command":
        box = h("textarea", value, name=name, rows="3", spellcheck="false", maxlength=LONGEST_VALUE)
    else:
        box = h("input", type="text", name=name, value=value, maxlength="200", autocomplete="off", spellcheck="false")
    return h("label", h("span", label), box, class_="field")


def act(view: View, name: str, program: Sequence[str]) -> tuple[str, Markup]:
    """Run the commands of an action; returns the page about what they said. `program` starts queuectl."""
    question = _question(view, name)
    if question is None:
        return "", refused(view.frame, "There is no such action, or nothing for it to act on.")[1]
    code, said = 0, ""
    for words in question.commands:
        code, more = _run(program, view.frame.file, words)
        said += more
        if code:
            break
    line = " && ".join(view.frame.shell.line(*words) for words in question.commands)
    if not question.commands:
        code, said = 2, "nothing to change"
    title = "Done" if not code else "Not done" if code == 2 else f"It ended with exit code {code}"
    close = h("a", "Close", href=question.back, class_="button primary", data_close=True, data_first=True)
    return title, h(
        "section",
        h("h1", title, id="question"),
        command(line) if line else None,
        h("pre", text(said, keep="\n\t"), class_="error" if code else None, tabindex="0") if said else None,
        h("div", close, class_="buttons"),
        class_="ask",
    )


def _run(program: Sequence[str], file: str, words: Sequence[str]) -> tuple[int, str]:
    """Run one command; returns its exit code and what it printed, shortened."""
    argv = [values.encode(word) for word in (*program, "--db", file, *words)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"It has been asked for, but it isn't over after {PATIENCE} seconds."
    except (OSError, ValueError) as error:
        return 2, str(error)
    lines = values.decode(done.stdout[: 1 << 20]).splitlines()
    left_out = len(lines) - MOST_LINES
    more = [f"… and {counted(left_out, 'more line')}"] if left_out > 0 else []
    return done.returncode, "\n".join(lines[:MOST_LINES] + more)


# --- the actions ----------------------------------------------------------------------------------


def _question(view: View, name: str) -> Question | None:
    """The question for an action, from the request's parameters; None if there is no such action, job or schedule."""
    if name in OF_JOBS:
        job = view.store.find(view.frame.query.get("id", ""))
        if job is None:
            return None
        return OF_JOBS[name](view, presentable(job) if malformed(job) else job)
    if name in OF_SCHEDULES:
        try:
            return OF_SCHEDULES[name](schedule_named(view.store, view.frame.query.get("schedule", "")).name)
        except Refused:
            return None
    return OF_QUEUES[name](view, view.frame.get("queue") or None) if name in OF_QUEUES else None


def _retry(view: View, job: Job) -> Question:
    is_due = job.state == "failed"
    about = "It is retried now, without waiting any longer." if is_due else "It starts over, with all of its retries."
    return Question(f"Run {_short(job.id)} again?", about, [on_job("retry", job.id)], "Run again", _page_of(job))


def _cancel(view: View, job: Job) -> Question:
    about = "Its processes are ended now." if job.state == "processing" else "It won't run. It can be run again later."
    return Question(
        f"Cancel {_short(job.id)}?", about, [on_job("cancel", job.id)], "Cancel the job", _page_of(job), "No, keep it"
    )


def _hold(view: View, job: Job) -> Question | None:
    if job.state not in WAITING or job.held:
        return None
    return Question(
        f"Hold {_short(job.id)}?", "It waits until it is released.", [on_job("hold", job.id)], "Hold", _page_of(job)
    )


def _release(view: View, job: Job) -> Question | None:
    if not job.held:
        return None
    title, about = f"Release {_short(job.id)}?", "It runs as soon as a worker is free."
    return Question(title, about, [on_job("release", job.id)], "Release", _page_of(job))


def _suspend(view: View, job: Job) -> Question | None:
    if job.state != "processing" or job.is_suspended:
        return None
    about = "Its processes stop until it is continued. It keeps its worker, and its timeout is paused."
    return Question(f"Suspend {_short(job.id)}?", about, [on_job("suspend", job.id)], "Suspend", _page_of(job))


def _continue(view: View, job: Job) -> Question | None:
    if not job.is_suspended:
        return None
    title, about = f"Continue {_short(job.id)}?", "Its processes continue where they left off."
    return Question(title, about, [on_job("continue", job.id)], "Continue", _page_of(job))


def _purge(view: View, job: Job) -> Question:
    about = f"This deletes the job, its history and its output. {SURE}"
    commands = [on_job("dlq purge", job.id)]
    return Question(f"Delete {_short(job.id)}?", about, commands, "Delete", "/dlq", "No, keep it")


def _edit(view: View, job: Job) -> Question | None:
    """What changes compared to the job as it is; an empty field changes nothing."""
    if job.state not in WAITING:
        return None
    inputs: list[tuple[str, str, str]] = []
    changes: list[str] = []
    for name, label, old in (
        ("command", "Command", job.command),
        ("priority", "Priority", f"{job.priority}"),
        ("to", "Queue", job.queue),
        ("max_retries", "Retries", f"{job.max_retries}"),
        ("timeout", "Timeout (0: none)", f"{job.timeout:g}"),
        ("delay", "Start in", ""),
    ):
        given = view.frame.query.get(name, "").replace("\r\n", "\n")
        new = (given if name == "command" else given.strip())[:LONGEST_VALUE] or old
        inputs.append((name, label, new))
        if new != old:
            option = "--" + {"to": "queue", "max_retries": "max-retries"}.get(name, name)
            changes.append(f"{option}={new}")
    commands = [["edit", *changes, *on_job("", job.id)]] if changes else []
    return Question(f"Edit {_short(job.id)}", None, commands, "Save", _page_of(job), inputs=tuple(inputs))


def _pause(view: View, queue: str | None) -> Question:
    what = f"queue {queue}" if queue else "all queues"
    about = "Running jobs finish; no others start."
    return Question(f"Pause {what}?", about, [["pause", *_name(queue)]], "Pause", "/")


def _resume(view: View, queue: str | None) -> Question:
    what = f"queue {queue}" if queue else "all queues"
    return Question(f"Resume {what}?", "Waiting jobs start.", [["resume", *_name(queue)]], "Resume", "/")


def _limits(view: View, queue: str | None) -> Question | None:
    if queue is None:
        return None
    config = view.store.config()
    inputs, commands = [], []
    for key, label in (("limit", "Jobs at once, such as 4"), ("rate", "Starts, such as 10/min")):
        old = str(config.get(f"{queue}.{key}", ""))
        new = view.frame.get(key) if key in view.frame.query else old
        inputs.append((key, label, new))
        if new != old:
            setting = f"{queue}.{key}"
            words = ["set", *(["--"] if new.startswith("-") else []), setting, new] if new else ["unset", setting]
            commands.append(["config", *words])
    about = "For this queue, whatever the number of workers. Empty means no limit."
    return Question(f"Limits of queue {queue}", about, commands, "Save", "/", inputs=tuple(inputs))


def _retry_dead(view: View, queue: str | None) -> Question:
    what = _dead(view, queue)
    about = "Each starts over, with all of its retries."
    commands = [["dlq", "retry", *_all(view, queue)]]
    return Question(f"Run {what} again?", about, commands, "Run them again", _dlq(view, queue))


def _purge_dead(view: View, queue: str | None) -> Question:
    about = f"This deletes the jobs, their history and their output. {SURE}"
    commands = [["dlq", "purge", *_all(view, queue)]]
    return Question(f"Delete {_dead(view, queue)}?", about, commands, "Delete them", _dlq(view, queue), "No, keep them")


def _retry_like(view: View, _: str | None) -> Question | None:
    """The group is the hash that the page of failures shows."""
    group = view.frame.get("group")
    if not group:
        return None
    about = f"All dead jobs of group {group}. Each starts over, with all of its retries."
    commands = [["dlq", "retry", f"--like={group}"]]
    return Question("Run the dead jobs of this failure again?", about, commands, "Run them again", "/failures")


def _run_schedule(schedule: str) -> Question:
    about = "Its job is added now, unless the previous one is unfinished and must not overlap."
    return _of_schedule("run", f"Run schedule {_short(schedule)} now?", about, schedule)


def _pause_schedule(schedule: str) -> Question:
    about = "It adds no jobs until it is resumed. Missed runs are not made up for."
    return _of_schedule("pause", f"Pause schedule {_short(schedule)}?", about, schedule)


def _resume_schedule(schedule: str) -> Question:
    about = "It adds jobs again, from its next time on."
    return _of_schedule("resume", f"Resume schedule {_short(schedule)}?", about, schedule)


def _of_schedule(verb: str, title: str, about: str, schedule: str) -> Question:
    return Question(title, about, [["schedule", verb, *on_job("", schedule)]], verb.capitalize(), "/schedules")


def _dead(view: View, queue: str | None) -> str:
    label = view.frame.get("label")
    if label:
        return f"all dead jobs with label {label}" + (f" of queue {queue}" if queue else "")
    number = matching(view.store, Search(states=("dead",), queues=(queue,) if queue else ()))
    jobs = "the dead job" if number == 1 else f"all {number:,} dead jobs"
    return jobs + (f" of queue {queue}" if queue else "")


def _name(queue: str | None) -> list[str]:
    return [] if queue is None else on_job("", queue)


def _all(view: View, queue: str | None) -> list[str]:
    given = {"queue": queue, "label": view.frame.get("label")}
    return [f"--{name}={value}" for name, value in given.items() if value] or ["--all"]


def _dlq(view: View, queue: str | None) -> str:
    return url("/dlq", queue=queue, label=view.frame.get("label"))


def _page_of(job: Job) -> str:
    return url("/job", id=job.id)


def _short(id: str) -> str:
    return id if len(id) <= 60 else id[:59] + "…"


OF_JOBS: dict[str, Callable[[View, Job], Question | None]] = {
    "retry": _retry,
    "cancel": _cancel,
    "hold": _hold,
    "release": _release,
    "suspend": _suspend,
    "continue": _continue,
    "purge": _purge,
    "edit": _edit,
}
OF_SCHEDULES: dict[str, Callable[[str], Question]] = {
    "schedule-run": _run_schedule,
    "schedule-pause": _pause_schedule,
    "schedule-resume": _resume_schedule,
}
OF_QUEUES: dict[str, Callable[[View, str | None], Question | None]] = {
    "pause": _pause,
    "resume": _resume,
    "limits": _limits,
    "retry-dead": _retry_dead,
    "retry-like": _retry_like,
    "purge-dead": _purge_dead,
}
