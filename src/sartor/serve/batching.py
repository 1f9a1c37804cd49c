"""Requests that arrive while one batch is being answered become the next batch.

Nobody waits for a batch to fill: a request that comes alone is answered alone. Under load, one multiplication reads the item vectors once
for all who wait, which is what makes many requests per second possible. One thread does the work, so that the event loop stays free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Batcher(Generic[Asked, Answered]):
    """Answers like questions together.

    Parameters
    ----------
    work: answers a batch; called in a thread with a group and its questions, gives one answer per question, in order.
    most: questions in one batch.
    threads: batches answered at the same time.
    """

    def __init__(self, work: Callable[[Hashable, Sequence[Asked]], Sequence[Answered]], *, most: int, threads: int = 1) -> None:
        self.work, self.most, self.threads = work, most, threads
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="sartor-batch")
        self._waiting: dict[Hashable, list[tuple[Asked, asyncio.Future[Answered]]]] = {}
        self._running = 0
        self._due = False

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
                loop = asyncio.get_running_loop()
                done = loop.run_in_executor(self.pool, self._answer, group, [asked for asked, _ in batch])
                done.add_done_callback(lambda finished, batch=batch: self._finish(finished, batch))  # type: ignore[misc]

    def _answer(self, group: Hashable, asked: Sequence[Asked]) -> list[Answered | Exception]:
        try:
            return [answer for _, answer in zip(asked, self.work(group, asked), strict=True)]
        except Exception as error:
            if len(asked) == 1:
                return [error]
        # One question that cannot be answered must not take the others with it.
        return [self._answer(group, [one])[0] for one in asked]

    def _finish(self, finished: asyncio.Future[list[Answered | Exception]], batch: list[tuple[Asked, asyncio.Future[Answered]]]) -> None:
        self._running -= 1
        self._start()
        for (_, future), answer in zip(batch, finished.result(), strict=True):
            if future.cancelled():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def close(self) -> None:
        """Wait for what is running."""
        self.pool.shutdown(wait=True, cancel_futures=False)
