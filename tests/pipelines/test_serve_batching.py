"""How requests are put together, with a network that is a function."""

import asyncio
import threading

import numpy as np
import pytest
from grpc import StatusCode

from pipelines.serving.server.batching import Batcher, Batching
from pipelines.serving.server.refusal import Refusal

ONE_THREAD = Batching(
    max_batch_size=4, batch_timeout_micros=20_000, num_batch_threads=1
)


class Network:
    """Doubles; notes the shapes of its batches; can be held up."""

    def __init__(self):
        self.shapes = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, signature, inputs):
        (array,) = inputs.values()
        self.shapes.append(array.shape)
        self.may_go.wait()
        if (array < 0).any():
            raise ValueError("negative")
        return {"doubled": array * 2}


def run(test, batching=ONE_THREAD):
    """Runs a coroutine of a test with a batcher and its network."""

    async def main():
        network = Network()
        batcher = Batcher(network, batching)
        try:
            return await asyncio.wait_for(test(batcher, network), 10)
        finally:
            network.may_go.set()
            batcher.close()

    return asyncio.run(main())


def submit(batcher, *values, width=1):
    array = np.array([[value] * width for value in values], float)
    return asyncio.ensure_future(batcher.submit("s", {"x": array}))


def test_requests_that_come_together_are_computed_together():
    async def test(batcher, network):
        asked = [submit(batcher, 1), submit(batcher, 2, 3), submit(batcher, 4)]
        answers = await asyncio.gather(*asked)
        assert [each["doubled"][:, 0].tolist() for each in answers] == [
            [2],
            [4, 6],
            [8],
        ]
        assert network.shapes == [(4, 1)]

    run(test)


def test_a_batch_that_waits_for_a_thread_grows():
    async def test(batcher, network):
        network.may_go.clear()
        first = submit(batcher, 1, 1, 1, 1)
        await asyncio.sleep(0.01)
        second = submit(batcher, 2)
        await asyncio.sleep(0.05)  # Its time is over, but the thread is not free.
        third = submit(batcher, 3)
        await asyncio.sleep(0)
        network.may_go.set()
        await asyncio.gather(first, second, third)
        assert network.shapes == [(4, 1), (2, 1)]

    run(test)


def test_no_batch_is_larger_than_the_largest():
    async def test(batcher, network):
        answers = [submit(batcher, *range(3)) for _ in range(3)]
        await asyncio.gather(*answers)
        assert network.shapes == [(3, 1)] * 3
        with pytest.raises(Refusal, match="Task size 5 is larger than maximum") as told:
            await submit(batcher, *range(5))
        assert told.value.code == StatusCode.INVALID_ARGUMENT

    run(test)


def test_images_of_other_sizes_make_other_batches():
    async def test(batcher, network):
        asked = [submit(batcher, 1), submit(batcher, 1, width=2), submit(batcher, 1)]
        await asyncio.gather(*asked)
        assert sorted(network.shapes) == [(1, 2), (2, 1)]

    run(test)


def test_alone_where_batching_is_off():
    async def test(batcher, network):
        await asyncio.gather(submit(batcher, 1), submit(batcher, 2))
        assert network.shapes == [(1, 1), (1, 1)]

    run(test, Batching(together=False))


def test_one_bad_request_is_not_the_failure_of_others():
    async def test(batcher, network):
        good, bad, other = submit(batcher, 1), submit(batcher, -1), submit(batcher, 3)
        assert (await good)["doubled"] == 2
        assert (await other)["doubled"] == 6
        with pytest.raises(ValueError, match="negative"):
            await bad

    run(test)


def test_filled_up_to_an_allowed_size():
    async def test(batcher, network):
        answers = await asyncio.gather(submit(batcher, 1, 2), submit(batcher, 3))
        assert network.shapes == [(8, 1)]
        assert [len(each["doubled"]) for each in answers] == [2, 1]
        assert answers[1]["doubled"] == 6

    run(test, Batching(max_batch_size=8, allowed_batch_sizes=(2, 8)))


def test_a_full_queue_refuses_and_goes_on():
    async def test(batcher, network):
        network.may_go.clear()
        waiting = [submit(batcher, 1)]
        await asyncio.sleep(0.05)
        waiting += [submit(batcher, *range(4)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="queue .* is full") as told:
            await submit(batcher, 1)
        assert told.value.code == StatusCode.RESOURCE_EXHAUSTED
        assert told.value.http == 429
        network.may_go.set()
        await asyncio.gather(*waiting)
        assert (await submit(batcher, 7))["doubled"] == 14

    run(test, Batching(4, 1000, max_enqueued_batches=2, num_batch_threads=1))


def test_who_gave_up_is_not_computed():
    async def test(batcher, network):
        network.may_go.clear()
        first = submit(batcher, 1)
        await asyncio.sleep(0.05)
        second, third = submit(batcher, 2), submit(batcher, 3)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        network.may_go.set()
        await asyncio.gather(first, third)
        assert network.shapes == [(1, 1), (1, 1)]

    run(test)
