"""What keys do in `top`."""

from __future__ import annotations

import time

from ..errors import Refused
from . import top_actions, top_keys, top_offers, top_overlays as overlays
from .top_data import MOST_JOBS, JobReader, Wanted
from .top_job import JobScreen
from .top_schedules import ScheduleScreen
from .top_screens import BLOCK, Popup, Screens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..lifecycle import Job
    from .top_actions import Action
    from .top_text import Line

SETTLED = 0.5  # Seconds for which a row must have been under the cursor before a key changes it.
MOVES = ("up", "down", "page_up", "page_down", "home", "end", "next", "previous")
SCROLLS = ("up", "down", "page_up", "page_down", "home", "end", "left", "right", "follow")


class Quit(Exception):
    """The user quit."""


class App(Screens):
    """The screens, and what keys do on them."""

    # --- keys --------------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Do what a key does. Raises Quit."""
        self._message = []
        if self.question is not None:
            self._answer(key)
        elif self.popup is not None:
            self._press_in_popup(key)
        elif self.entry is not None:
            self._type(key)
        elif self.is_choosing:
            self._choose_state(key)
        else:
            action = top_keys.action(self._keys(), key)
            if action is not None:
                self._act(action)

    def _act(self, action: str) -> None:
        if action == "quit":
            raise Quit
        if action == "help":
            self.popup = Popup(self._help())
        elif action == "commands":
            self.popup = Popup(self._commands())
        elif self.schedules is not None and self.job is None:
            self._act_on_schedules(self.schedules, action)
        elif action == "pause":
            self._pause_queue()
        elif action in ("retry", "raise", "lower", "suspend", "cancel", "delete"):
            self._change_job(action)
        elif self.job is not None:
            self._act_on_job_screen(self.job, action)
        else:
            self._act_on_main(action)

    def _act_on_job_screen(self, screen: JobScreen, action: str) -> None:
        if action == "back":
            self.job = None
            self._must_read = True
        elif action in SCROLLS:
            screen.move(action)
        else:
            screen.choose_attempt(-1 if action == "older_attempt" else 1)
            self._must_read = True

    def _act_on_schedules(self, screen: ScheduleScreen, action: str) -> None:
        schedule = screen.schedule()
        if action == "back":
            self.schedules = None
            self._must_read = self._user_moved = True
        elif action in MOVES:
            screen.move(action)
            self._user_moved = True
        elif schedule is None:
            self._say("there is no schedule", "warning")
        elif action != "open":
            if self._has_just_moved():
                self._say(f"the list has just moved; for schedule {schedule.name}, press the key again", "warning")
            else:
                self._consider(top_actions.on_schedule(action, schedule))
        elif schedule.row.last_job is None:
            self._say(f"schedule {schedule.name} has added no job yet", "dim")
        else:
            id = schedule.row.last_job
            job = self.source.ask(lambda store: store.find(id))
            if job is None:
                self._say(f"job {id} of schedule {schedule.name} was deleted", "dim")
            self._show(job)

    def _act_on_main(self, action: str) -> None:
        main = self.main
        if action in MOVES:
            self._move(action)
        elif action == "open":
            self._open()
        elif action == "filter":
            self.entry, self._filter_before = main.wanted.text or "", main.wanted
        elif action == "state":
            self.is_choosing = True
        elif action == "clear":
            self._want(Wanted())
        elif action == "schedules":
            picture = self.source.read_schedules()
            if picture is not None:
                self.schedules = ScheduleScreen(picture, self._charset)
                self._user_moved = True

    def _move(self, action: str) -> None:
        main, place = self.main, self.main.places["jobs"]
        if main.focus == "jobs" and action == "end" and self._limit < MOST_JOBS:
            self._limit = MOST_JOBS
            self._read()
        elif main.focus == "jobs" and action == "home":
            self._limit = BLOCK
        main.move(action)
        self._user_moved = True
        if place.index + 2 * place.height > self._limit < MOST_JOBS:
            self._limit += BLOCK
            self._must_read = True

    def _want(self, wanted: Wanted) -> None:
        """List other jobs."""
        self.main.wanted = wanted
        self.main.places["jobs"].home()
        self._limit = BLOCK
        self._must_read = self._user_moved = True

    def _open(self) -> None:
        main = self.main
        if main.focus == "queues":
            queue = main.queue()
            if queue is not None:
                self._want(main.wanted._replace(queue=None if main.wanted.queue == queue.name else queue.name))
                main.focus = "jobs"
            return
        row, worker = main.job(), main.worker()
        if main.focus == "jobs":
            self._show(row[0] if row else None)
        elif worker is not None and worker.id in main.picture.overview.running:
            id = main.picture.overview.running[worker.id][0]
            self._show(self.source.ask(lambda store: store.find(id)))
        elif worker is not None:
            self._say(f"worker {worker.id} has no job now", "dim")

    def _show(self, job: Job | None) -> None:
        """Open the screen of a job."""
        if job is None:
            return
        reader = JobReader(job)
        picture = self.source.read_job(reader)
        if picture is not None:
            self.job = JobScreen(reader, picture, self._files.prefix, self._charset)

    # --- what is typed ---------------------------------------------------------------------------------

    def _type(self, key: str) -> None:
        """A key while the filter is typed; the list follows."""
        entry = self.entry or ""
        if key == "enter":
            self.entry = None
            return
        if key == "esc":
            self.entry = None
            self._want(self._filter_before)
            return
        if key == "backspace":
            entry = entry[:-1]
        elif key == "ctrl-u":
            entry = ""
        elif len(key) == 1 and key.isprintable():
            entry += key
        self.entry = entry
        self._want(self.main.wanted._replace(text=entry or None))

    def _choose_state(self, key: str) -> None:
        self.is_choosing = False
        if key in top_keys.STATE_KEYS:
            self._want(self.main.wanted._replace(state=top_keys.STATE_KEYS[key]))

    def _answer(self, key: str) -> None:
        """The answer to a question. Anything but y means no; keys that were pressed before it was shown are ignored."""
        if not self.is_question_shown:
            return
        question, self.question = self.question, None
        if question is not None and key in ("y", "Y"):
            self._perform(question)
        else:
            self._say("nothing was changed", "dim")

    def _press_in_popup(self, key: str) -> None:
        popup = self.popup
        action = top_keys.action(top_keys.ON_LISTS, key)
        pages = {"up": -1, "down": 1, "page_up": -10, "page_down": 10, "home": -1000, "end": 1000}
        if popup is None or action not in pages:
            self.popup = None
            return
        most = max(0, len(popup.lines) - 1 - self._popup_height())
        self.popup = popup._replace(top=max(0, min(popup.top + pages[action], most)))

    # --- changes ---------------------------------------------------------------------------------------

    def _target(self) -> Job | None:
        """The job that a key is about: the one on screen, or under the cursor."""
        if self.job is not None:
            return self.job.picture.job
        row = self.main.job() if self.main.focus == "jobs" else None
        return row[0] if row else None

    def _change_job(self, action: str) -> None:
        job = self._target()
        if job is None:
            self._say("select a job first: Tab goes to the list of jobs", "warning")
            return
        if self._has_just_moved():
            self._say(f"the list has just moved; for job {job.id}, press the key again", "warning")
            return
        try:
            change = top_actions.on_job(action, job)
        except Refused as refusal:
            self._say(str(refusal), "warning")
            return
        self._consider(change)

    def _pause_queue(self) -> None:
        job, queue = self._target(), self.main.queue()
        name = job.queue if job else queue.name if queue and self.main.focus == "queues" else None
        if name is None:
            self._say("select a queue or a job first: Tab goes to the next panel", "warning")
            return
        if job is not None and self._has_just_moved():
            self._say(f"the list has just moved; for queue {name}, press the key again", "warning")
            return
        paused = self.source.ask(lambda store: store.paused())
        if paused is None:
            self._say(self.source.problem or "", "error")
            return
        try:
            self._consider(top_actions.on_queue(name, name in paused, None in paused))
        except Refused as refusal:
            self._say(str(refusal), "warning")

    def _has_just_moved(self) -> bool:
        """Whether a row came under the cursor so recently that the user may have meant another. Pins the row."""
        if self.job is not None:
            return False
        self._place().is_home = False
        return time.monotonic() - self._moved_at < SETTLED

    def _consider(self, change: Action) -> None:
        if change.question is None:
            self._perform(change)
        else:
            self.question, self.is_question_shown = change, False

    def _perform(self, change: Action) -> None:
        said, is_done = top_actions.perform(change, self._files.client)
        self._say(said, "ok" if is_done else "error")
        if is_done:
            self._message += [("   ", ""), (self._command(change.words), "command")]
        self._must_read = True


    def _help(self) -> list[Line]:
        return overlays.help_screen(self._keys(), self._charset)

    def _commands(self) -> list[Line]:
        """The shell commands for what is selected."""
        title, offers = self._offers()
        shown = [(offer.key, offer.meaning, self._command(offer.words)) for offer in offers]
        return overlays.commands(title, shown, self._charset)

    def _offers(self) -> tuple[str, list[top_offers.Offer]]:
        main = self.main
        row, queue, worker = main.job(), main.queue(), main.worker()
        if self.job is not None:
            picture = self.job.picture
            return f"job {picture.job.id}", top_offers.for_job(picture.job, picture.reason, picture.needs)
        if self.schedules is not None:
            schedule = self.schedules.schedule()
            return ("", []) if schedule is None else (f"schedule {schedule.name}", top_offers.for_schedule(schedule))
        if main.focus == "jobs" and row is not None:
            job, reason = row
            needs = self.source.ask(lambda store: store.needs(job)) or []
            return f"job {job.id}", top_offers.for_job(job, reason, needs)
        if main.focus == "queues" and queue is not None:
            return f"queue {queue.name}", top_offers.for_queue(queue, main.picture.overview.is_paused)
        if main.focus == "workers" and worker is not None:
            holds = main.picture.overview.running.get(worker.id)
            return f"worker {worker.id}", top_offers.for_worker(worker, holds[0] if holds else None)
        return "", []
