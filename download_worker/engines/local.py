"""The engine on this machine: threads that walk jobs, one that beats their hearts, and a loop that claims.

The loop sleeps on the bell. It wakes for a ring from any process, for a job that has ended, for the next `not_before`,
for the next probe of a host that rests and the next look at a full volume, for a sweep that finds what a lost ring
left, and every second only while another process of this machine holds jobs whose death would have to be noticed.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter as Tally
from contextlib import suppress
from datetime import datetime
from functools import partial

from loguru import logger

from download_worker.anchor import LedgerLost
from download_worker.ballast import Ballast
from download_worker.engines.errands import Errands
from download_worker.engines.hand import ANSWERS, Hand
from download_worker.errors import BadRequest, Code, IllegalMove, Interrupted, LostClaim, Trouble, TryLater
from download_worker.housekeeping import clear_up, leaves_nothing, tidy
from download_worker.jobs import moves
from download_worker.jobs.bell import Bell
from download_worker.jobs.job import Claim, Job, JobId, Lease, Status, WorkerId
from download_worker.jobs.ledger import Bars, Beat, Holding, Order
from download_worker.owners import Owners
from download_worker.process import process, record
from download_worker.threads import thread_errors
from download_worker.workshop import Workshop

STOP_SECONDS = 3.5
"""How long running jobs have to end by themselves before they are given back over their heads."""

WATCH_OWNERS_SECONDS = 1.0
LOOK_ROUND_SECONDS = 1.0
"""Where jobs end in quick succession, not each of their ends is a reason to look at what all others hold and want."""
SHORT_OF_LEDGER_SECONDS = 5.0
CLEAR_UP_SECONDS = 24 * 3600.0
BALLAST_BACK_SECONDS = 600.0
ALLOCATIONS_PER_COLLECTION = 50_000
"""By the garbage collector, once the start is over: what jobs leave in circles may hold buffers."""


class LocalEngine:
    def __init__(self, shop: Workshop, bell: Bell, owners: Owners, ballast: Ballast | None = None) -> None:
        self._shop = shop
        self._bell = bell
        self._owners = owners
        self._worker = WorkerId("")
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._hands: dict[Claim, Hand] = {}
        self._watching_others = False
        self._clear_up_at = 0.0
        self._failures = 0
        self._unrecorded: set[Claim] = set()
        self._had_their_way: set[JobId] = set()
        self._to_excuse: set[JobId] = set()
        self._hosts = shop.hosts
        self._volumes = shop.volumes
        self._hosts.listen(bell.wake)
        self._ballast = ballast
        self._errands = Errands()
        self._offered_at = 0.0
        self._look_at = 0.0

    def stop(self) -> None:
        self._stopping.set()
        self._bell.wake()

    def run(self, *, drain: bool = False) -> bool:
        with self._owners.enrol() as self._worker:
            logger.info("{} is ready for {} jobs at once", self._worker, self._shop.settings.jobs)
            heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            with thread_errors():
                heart.start()
            gc.freeze()  # what was loaded for the start stays; to look through it for garbage costs a tenth of all work
            gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
            try:
                self._loop(drain)
            finally:
                self._stopping.set()
                self._stop_hands()
                heart.join(STOP_SECONDS)
                logger.info("{} has stopped", self._worker)
        left_behind = drain and self._shop.ledger.has_live_jobs()
        return self._failures == 0 and not left_behind

    def _loop(self, drain: bool) -> None:
        was_called = False
        while not self._stopping.is_set():
            try:
                self._clear_up()
                rung = self._listen()
                self._excuse()
                if self._unrecorded:
                    self._reclaim()  # before another one is taken, which may end like this
                bars, all_busy = self._take()
                # After the take, so that what another worker was quicker to claim is watched from now on.
                looks = rung or not was_called or self._seconds() >= self._look_at
                if looks and self._look_round(bars, all_busy=all_busy):
                    continue
                if drain and self._nothing_left():
                    return
                patience = self._patience_seconds(looked=looks)
            except LedgerLost:
                raise  # whatever is done from now on is recorded nowhere
            except Trouble as trouble:
                self._lighten(trouble)
                logger.warning("{}; the worker tries again in {:.0f} s", trouble, SHORT_OF_LEDGER_SECONDS)
                patience = SHORT_OF_LEDGER_SECONDS
            was_called = self._bell.wait(patience)

    def _look_round(self, bars: Bars, *, all_busy: bool) -> bool:
        """Whether it found something to take."""
        self._look_at = self._seconds() + LOOK_ROUND_SECONDS
        self._make_way(bars, all_busy=all_busy)
        return self._reclaim()

    def _clear_up(self) -> None:
        now = self._seconds()
        if now >= self._clear_up_at:
            self._clear_up_at = now + CLEAR_UP_SECONDS
            self._errands.run("clearing up", partial(clear_up, self._shop))
            if self._ballast is not None:
                self._ballast.take()

    def _reclaim(self) -> bool:
        """Send back to the queue what is held by nobody who lives, or by somebody whose lease has run out.

        Returns whether there was such a job: it may be taken at once.
        """
        now = self._shop.clock.steady()
        others = taken_back = False
        for holding in self._shop.ledger.holdings():
            with self._lock:
                ours = holding.claim in self._hands
            if ours:
                continue
            gone = holding.claim.worker == self._worker or not self._owners.is_alive(holding.claim.worker)
            if gone or not holding.lease.holds(now):
                taken_back |= self._take_back(holding)
            else:
                others = True
        self._watching_others = others
        return taken_back

    def _take_back(self, holding: Holding) -> bool:
        settings, ledger = self._shop.settings, self._shop.ledger
        with self._lock:
            ours = holding.claim in self._unrecorded
        move = moves.reclaimed(
            self._shop.clock.now(),
            max_tries=settings.max_tries,
            base_seconds=settings.backoff_base_seconds,
            cap_seconds=settings.backoff_cap_seconds,
        )
        if ours:
            move = moves.given_back(self._shop.at(), "What became of it could not be recorded; it is taken up again")
        try:
            job = ledger.get(holding.claim.job_id)
            # First its staging goes, so that a stopped owner that wakes up again can put nothing in place.
            if job.cancel_requested and not job.promoting and not self._tidies(job):
                return False
            job = ledger.change(holding.claim, move)
        except (LostClaim, BadRequest):
            return False  # another worker was quicker
        with self._lock:
            self._unrecorded.discard(holding.claim)
        self._count(job)
        logger.warning("job {} was left by {}; now {}", job.job_id, holding.claim.worker, job.status)
        return True

    def _count(self, job: Job) -> None:
        with self._lock:
            self._failures += job.status is Status.FAILED
            if not job.live:
                self._had_their_way.discard(job.job_id)

    def _listen(self) -> bool:
        """Whether anybody rang."""
        rings = self._bell.heard()
        for ring in rings:
            try:
                job = self._shop.ledger.get(ring.job_id)
            except BadRequest:
                self._bell.set_aside(ring, "the ledger knows no such job")
                continue
            if not job.live and leaves_nothing(job):
                self._tidies(job)  # cancelled while nobody had it
        return bool(rings)

    def _tidies(self, job: Job) -> bool:
        return self._errands.run(f"tidying up after job {job.job_id}", partial(tidy, job, self._shop.settings))

    def _take(self) -> tuple[Bars, bool]:
        """As many jobs as there are places for. Returns what kept it from taking more, see `_bars`."""
        while True:
            bars, all_busy = self._bars()
            over = all_busy or self._stopping.is_set()
            job = None if over else self._shop.ledger.claim(self._worker, self._lease(), self._now(), bars)
            if job is None:
                return bars, all_busy
            hand = Hand(job)
            with self._lock:
                self._hands[job.claim] = hand
            self._hosts.begun(job)
            self._volumes.begun(job, hand.leash)
            self._start(hand)

    def _start(self, hand: Hand) -> None:
        """Raises TryLater where the system gives no more threads; the job is taken back soon, and loses no try."""
        # A daemon, so that a thread stuck in a connect cannot keep the process from ending.
        thread = threading.Thread(target=self._work, args=(hand,), name=f"job-{hand.job.job_id[:8]}", daemon=True)
        try:
            with thread_errors():
                thread.start()
        except TryLater:
            self._leave(hand)
            with self._lock:
                self._unrecorded.add(hand.job.claim)
            self._look_at = 0.0
            raise

    def _bars(self) -> tuple[Bars, bool]:
        """What no job is claimed behind now, and whether all places are taken."""
        settings = self._shop.settings
        self._offered_at = self._seconds()
        with self._lock:
            busy = Tally(hand.job.model_info.host for hand in self._hands.values())
        full = frozenset(host for host, number in busy.items() if number >= settings.jobs_per_host)
        return Bars(full, self._hosts.resting(), self._volumes.shut_folders()), busy.total() >= settings.jobs

    def _make_way(self, bars: Bars, *, all_busy: bool) -> None:
        """Where the next job in line is more urgent than one that has its place, that one goes back into the line.

        Once for each: what did not stay in the place that was made for it (its disk is full, the language model silent)
        would throw the others out again and again, and waits for a place from then on.
        """
        with self._lock:
            hands = list(self._hands.values())
        nobody_waits = not all_busy and not bars.full_hosts
        if nobody_waits or not hands:
            return
        if any(hand.order is not Order.GO_ON for hand in hands):
            self._look_at = 0.0  # a place becomes free already: first see who takes it, and look again then
            return
        standing = {holding.claim: holding for holding in self._shop.ledger.holdings()}
        able = [hand for hand in hands if (held := standing.get(hand.job.claim)) and held.status is Status.DOWNLOADING]
        if not able:
            return  # those that are nearly done do not
        lowest = min(standing[hand.job.claim].priority for hand in able)
        waiting = self._shop.ledger.next_in_line(self._now(), bars._replace(full_hosts=frozenset()), above=lowest)
        if waiting is None or waiting.job_id in self._had_their_way:
            return
        if waiting.host in bars.full_hosts or not all_busy:
            able = [hand for hand in able if hand.job.model_info.host == waiting.host]
        lower = [(standing[hand.job.claim].priority, -place) for place, hand in enumerate(able)]
        lower = [(priority, place) for priority, place in lower if priority < waiting.priority]
        if lower:
            _, place = min(lower)  # of equals the one that began last
            logger.info("job {} makes way for one of priority {}", able[-place].job.job_id, waiting.priority)
            self._had_their_way.add(waiting.job_id)
            able[-place].pull(Order.MAKE_WAY)
            self._look_at = 0.0  # there may be another one who is as urgent

    def _lighten(self, trouble: Trouble) -> None:
        """Where the ledger's own volume is full, its ballast goes, and comes back when there is room again."""
        if trouble.code is Code.DISK_FULL and self._ballast is not None and self._ballast.let_go():
            self._clear_up_at = self._seconds() + BALLAST_BACK_SECONDS

    def _excuse(self) -> None:
        """Not while it is held: what is about to be recorded then would count the try all the same."""
        self._to_excuse |= self._hosts.excused()
        with self._lock:
            held = {claim.job_id for claim in self._hands}
        for job_id in self._to_excuse - held:
            with suppress(BadRequest):  # forgotten meanwhile
                self._shop.ledger.amend(job_id, moves.excused(self._shop.at()))
            self._to_excuse.discard(job_id)

    def _work(self, hand: Hand) -> None:
        try:
            self._count(process(hand.job, self._shop, hand.leash))
        except Interrupted:
            self._obey(hand)
        except LostClaim:
            logger.info("job {} is somebody else's by now, or over; dropped", hand.job.job_id)
        except TryLater as trouble:
            self._keep_for_later(hand, trouble)
        except (Trouble, IllegalMove) as error:
            logger.error("job {} could not be recorded: {}", hand.job.job_id, error)
        finally:
            self._leave(hand)
            self._bell.wake()

    def _leave(self, hand: Hand) -> None:
        self._hosts.ended(hand.job)
        self._volumes.ended(hand.job)
        with self._lock:
            self._hands.pop(hand.job.claim, None)

    def _keep_for_later(self, hand: Hand, trouble: TryLater) -> None:
        """The ledger could not be written (its disk is full, say): nothing is lost, and it is no fault of the job."""
        self._lighten(trouble)
        logger.error("job {} could not be recorded and is taken up again: {}", hand.job.job_id, trouble)
        with self._lock:
            self._unrecorded.add(hand.job.claim)
        self._look_at = 0.0

    def _obey(self, hand: Hand) -> None:
        """Record why the leash was pulled. A cancelled job leaves nothing behind."""
        if hand.order is Order.LOST:
            return
        try:
            record(hand.job, self._shop, ANSWERS[hand.order](self._shop.at()))
        except LostClaim:
            logger.debug("job {} had another owner already", hand.job.job_id)
        except TryLater as trouble:
            self._keep_for_later(hand, trouble)
        except (Trouble, IllegalMove) as error:
            logger.error("job {} could not be given back and is taken back later: {}", hand.job.job_id, error)

    def _beat(self) -> None:
        """Renews leases from a thread of its own: a stalled download still has a living owner."""
        last = self._shop.clock.steady()
        while not self._stopping.wait(self._shop.settings.heartbeat_seconds):
            with self._lock:
                hands = dict(self._hands)
            try:
                beats = [Beat(claim, hand.leash.read(hand.job.progress)) for claim, hand in hands.items()]
                orders = self._shop.ledger.beat(beats, self._lease()) if beats else {}
                last = self._shop.clock.steady()
            except Trouble as trouble:
                logger.warning("the heartbeat did not reach the ledger: {}", trouble)
                self._lighten(trouble)
                if isinstance(trouble, LedgerLost):
                    self._bell.wake()
                overdue = self._seconds() - last.seconds > self._shop.settings.lease_seconds
                orders = {claim.job_id: Order.LOST for claim in hands} if overdue else {}
            for hand in hands.values():
                if (host := hand.answering_host()) is not None:
                    self._hosts.answered(host)
            for claim, hand in hands.items():
                order = orders.get(claim.job_id, Order.GO_ON)
                if order is not Order.GO_ON:
                    hand.pull(order)

    def _stop_hands(self) -> None:
        with self._lock:
            hands = list(self._hands.values())
        for hand in hands:
            hand.leash.pull()
        deadline = self._seconds() + STOP_SECONDS
        while self._seconds() < deadline:
            with self._lock:
                if not self._hands:
                    return
            self._bell.wait(0.1)
        with self._lock:
            stuck = list(self._hands.values())
        for hand in stuck:
            logger.warning("job {} did not stop in {:.1f} s and is given back", hand.job.job_id, STOP_SECONDS)
            obeyed = partial(self._obey, hand)
            self._errands.run(f"giving back job {hand.job.job_id}", obeyed, patience_seconds=STOP_SECONDS)

    def _nothing_left(self) -> bool:
        with self._lock:
            if self._hands:
                return False
        return self._shop.ledger.queue_paused() or self._shop.ledger.unfinished() == 0

    def _patience_seconds(self, *, looked: bool) -> float:
        settings, clock = self._shop.settings, self._shop.clock
        patience = settings.sweep_seconds
        if not looked:
            patience = min(patience, max(0.0, self._look_at - self._seconds()))
        if self._watching_others:
            patience = min(patience, WATCH_OWNERS_SECONDS)
        for seconds in (self._hosts.next_probe_seconds(self._offered_at), self._volumes.next_look_seconds()):
            patience = patience if seconds is None else min(patience, seconds)
        due = self._shop.ledger.next_due()
        return patience if due is None else max(0.0, min(patience, (due - clock.now()).total_seconds()))

    def _now(self) -> datetime:
        return self._shop.clock.now()

    def _seconds(self) -> float:
        return self._shop.clock.steady().seconds

    def _lease(self) -> Lease:
        return Lease.starting(self._shop.clock.steady(), self._shop.settings.lease_seconds)
