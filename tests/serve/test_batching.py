"""Requests that are answered together are answered as if alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Sequence

import pytest

from sartor.serve.batching import Batcher


def test_everybody_gets_her_own_answer_and_a_fault_stays_with_its_question() -> None:
    batches: list[tuple[Hashable, int]] = []

    def work(group: Hashable, asked: Sequence[int]) -> list[tuple[Hashable, int]]:
        batches.append((group, len(asked)))
        time.sleep(0.002)
        if 13 in asked:
            raise ValueError("13")
        return [(group, 2 * one) for one in asked]

    async def run() -> list[object]:
        batcher: Batcher[int, tuple[Hashable, int]] = Batcher(work, most=8)
        asked = [batcher.ask(group, number) for number in range(30) for group in ("a", "b")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        alone = await batcher.ask("a", 100)
        assert alone == ("a", 200)
        gone = asyncio.ensure_future(batcher.ask("a", 1))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await batcher.ask("a", 2) == ("a", 4), "somebody who went away takes nobody along"
        batcher.close()
        return list(answers)

    answers = asyncio.run(run())
    expected = [(group, 2 * number) for number in range(30) for group in ("a", "b")]
    for (group, double), answer in zip(expected, answers, strict=True):
        if double == 26:
            assert isinstance(answer, ValueError)
        else:
            assert answer == (group, double)
    assert max(size for _, size in batches) == 8
    assert len([size for _, size in batches if size > 1]) >= 6, "those who wait are answered together"


def test_work_that_loses_an_answer_is_an_error_not_a_wait() -> None:
    async def run() -> None:
        batcher: Batcher[int, int] = Batcher(lambda group, asked: [1], most=8)
        both = await asyncio.wait_for(asyncio.gather(batcher.ask("a", 1), batcher.ask("a", 2)), 60)
        assert both == [1, 1], "asked again one by one"
        batcher.work = lambda group, asked: []
        with pytest.raises(ValueError):
            await asyncio.wait_for(batcher.ask("a", 1), 60)
        batcher.close()

    asyncio.run(run())
