"""Requests that arrive while one batch is being answered become the next batch.

Nobody waits for a batch to fill: a request that comes alone is answered alone. Under load, one multiplication reads the item vectors once
for all who wait, which is what makes many requests per second possible. One thread does the work, so that the event loop stays free.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Waiting = list[tuple[Asked, asyncio.Future[Answered]]]


class Batcher(Generic[Asked, Answered]):
    """Answers like questions together.

    Threads of its own rather than an executor's: a batch goes there and back in one message each, which costs half as much.

    Parameters
    ----------
    work: answers a batch; called in a thread with a group and its questions, gives one answer per question, in order.
    most: questions in one batch.
    threads: batches answered at the same time.
    """

    def __init__(self, work: Callable[[Hashable, Sequence[Asked]], Sequence[Answered]], *, most: int, threads: int = 1) -> None:
        self.work, self.most, self.threads = work, most, threads
        self._waiting: dict[Hashable, Waiting[Asked, Answered]] = {}
        self._running = 0
        self._due = False
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, Hashable, Waiting[Asked, Answered]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"sartor-batch-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    async def ask(self, group: Hashable, asked: Asked) -> Answered:
        """The answer to one question; questions of one group may be answered together."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answered] = loop.create_future()
        self._waiting.setdefault(group, []).append((asked, future))
        if not self._due:
            # Not at once: what the loop has already read from other connections comes along.
            self._due = True
            loop.call_soon(loop.call_soon, self._start)
        return await future

    def _start(self) -> None:
        self._due = False
        while self._waiting and self._running < self.threads:
            # The group that has waited longest; what is beyond one batch goes to the end.
            group = next(iter(self._waiting))
            waiting = [one for one in self._waiting.pop(group) if not one[1].cancelled()]
            if len(waiting) > self.most:
                self._waiting[group] = waiting[self.most :]
            batch = waiting[: self.most]
            if batch:
                self._running += 1
                self._batches.put((asyncio.get_running_loop(), group, batch))

    def _run(self) -> None:
        while (given := self._batches.get()) is not None:
            loop, group, batch = given
            answers = self._answer(group, [asked for asked, _ in batch])
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._finish, batch, answers)
            # Nothing of anybody stays here until the next batch.
            del given, loop, group, batch, answers

    def _answer(self, group: Hashable, asked: Sequence[Asked]) -> list[Answered | Exception]:
        try:
            return [answer for _, answer in zip(asked, self.work(group, asked), strict=True)]
        except Exception as error:
            if len(asked) == 1:
                return [error]
        # One question that cannot be answered must not take the others with it.
        return [self._answer(group, [one])[0] for one in asked]

    def _finish(self, batch: Waiting[Asked, Answered], answers: Sequence[Answered | Exception]) -> None:
        self._running -= 1
        self._start()
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.cancelled():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def close(self) -> None:
        """Wait for what is running."""
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:
            thread.join()
