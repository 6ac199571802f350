"""A server in this process, and models that it serves."""

import asyncio
import contextlib
import threading
import time

import tensorflow as tf

from pipelines.serving.server.process import Settings, running


@contextlib.contextmanager
def served(*configs, **settings):
    """Serves in a thread in the block, which gets the `Running`."""
    found, loop = [], asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve():
        try:
            given = Settings(
                configs,
                **{"rest_port": 0, "grpc_port": 0, "poll_seconds": 0.05} | settings,
            )
            async with running(given) as server:
                found.append(server)
                ready.set()
                await stop.wait()
        except BaseException as error:
            found.append(error)
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    ready.wait()
    if isinstance(found[0], BaseException):
        thread.join()
        raise found[0]
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def wait_for(condition, seconds=20):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def save_half_plus_two(path, plus=2.0):
    """Writes TF Serving's own example: y = x / 2 + 2."""
    module = tf.Module()
    module.plus = tf.Variable(float(plus))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half_plus_two(x):
        return {"y": x / 2 + module.plus}

    tf.saved_model.save(module, str(path), signatures=half_plus_two)
