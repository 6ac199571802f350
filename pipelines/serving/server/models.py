"""The models that are served: which versions there are, and which answers."""

import asyncio
import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from grpc import StatusCode
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from pipelines.errors import UserError
from pipelines.serving.server.batching import Arrays, Batcher, Batching
from pipelines.serving.server.configuration import ModelConfig
from pipelines.serving.server.engines import Loaded, load
from pipelines.serving.server.metrics import Metrics
from pipelines.serving.server.refusal import Refusal, invalid
from pipelines.serving.signatures import BYTES_SIGNATURE
from pipelines.serving.versions import versions

_CODES = {code.value[0]: code for code in StatusCode}


class Version:
    """A version of a model that answers.

    Args:
        model: The model's name.
        number: The version's.
        loaded: What computes it.
        batcher: The queue before that.
    """

    def __init__(
        self, model: str, number: int, loaded: Loaded, batcher: Batcher
    ) -> None:
        self.model = model
        self.number = number
        self.signatures = loaded.signatures
        self._loaded = loaded
        self._batcher = batcher
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keeps the version from being let go in the block."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    def signature(self, name: str) -> tuple[str, meta_graph_pb2.SignatureDef]:
        """Returns a signature and its name; an empty name is the default one's.

        Raises:
            Refusal: If there is none of that name.
        """
        name = name or BYTES_SIGNATURE
        if name not in self.signatures:
            raise invalid(
                f'Serving signature name: "{name}" not found in signature def'
            )
        return name, self.signatures[name]

    async def predict(self, signature: str, inputs: Arrays) -> Arrays:
        """Returns the outputs of a signature.

        Raises:
            Refusal: If it cannot be computed, or too many wait.
        """
        for name, info in self.signatures[signature].inputs.items():
            shape, wanted = inputs[name].shape, tf.TensorShape(info.tensor_shape)
            if not wanted.is_compatible_with(shape):
                raise invalid(f"input {name} has shape {shape}, and not {wanted}")
        try:
            return await self._batcher.submit(signature, inputs)
        except tf.errors.OpError as error:
            code = _CODES.get(error.error_code, StatusCode.UNKNOWN)
            raise Refusal(code, error.message) from error

    async def let_go(self) -> None:
        """Waits for the last request, and gives the memory back."""
        await self._unused.wait()
        self._batcher.close()
        await asyncio.to_thread(self._loaded.close)


class Model:
    """A model, whose versions come and go in a folder.

    Args:
        config: What to serve of it.
        batching: How requests are put together.
        metrics: Told of versions and batches.
        tell: Takes a sentence on what goes wrong, or well.
    """

    def __init__(
        self,
        config: ModelConfig,
        batching: Batching,
        metrics: Metrics,
        tell: Callable[[str], None],
    ) -> None:
        self.config = config
        self.versions: dict[int, Version] = {}
        self._batching = batching
        self._metrics = metrics
        self._tell = tell
        self._broken: dict[int, object] = {}
        self._told: set[int] = set()
        self._statuses: dict[int, ModelVersionStatus] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def find(self, number: int | None = None, label: str | None = None) -> Version:
        """Returns the version that is asked for, the newest if none is.

        Raises:
            Refusal: If it is not served.
        """
        name = self.config.name
        if label is not None:
            number = dict(self.config.labels).get(label)
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        if number is None:
            if not self.versions:
                raise Refusal(StatusCode.UNAVAILABLE, f"model {name} is being loaded")
            number = max(self.versions)
        if number not in self.versions:
            raise not_found(name, number)
        return self.versions[number]

    def statuses(self, number: int | None = None) -> list[ModelVersionStatus]:
        """Returns the states of a version, or of all that there have been.

        Raises:
            Refusal: If there has been none.
        """
        if number is None:
            return [self._statuses[each] for each in sorted(self._statuses)]
        if number not in self._statuses:
            raise Refusal(
                StatusCode.NOT_FOUND,
                f"Could not find version {number} of model {self.config.name}",
            )
        return [self._statuses[number]]

    async def refresh(self) -> None:
        """Loads what is new and wanted, then lets go what no longer is.

        A version that cannot be loaded is told once; the one before it goes on, and it
        is tried again when its files are others.
        """
        found = self._found()
        self._broken = {
            number: files
            for number, files in self._broken.items()
            if number in found and _files(self._path(number)) == files
        }
        while True:
            wanted = self.config.wanted(found - self._broken.keys())
            if not (missing := wanted - self.versions.keys()):
                break
            for number in sorted(missing):
                await self._load(number)
        for number in self.versions.keys() - wanted if wanted else ():
            self._retire(number)

    def problem(self) -> str:
        """Returns why there is no version, in a sentence."""
        name, path = self.config.name, self.config.base_path
        told = [self._statuses[each].status.error_message for each in self._broken]
        if told:
            return f"model {name} cannot be served: {told[-1]}"
        if not path.is_dir():
            return f"there is no folder {path} with versions of model {name}"
        hint = "give the folder above the numbered ones"
        if inside := sorted((path / "serving").glob("[!.]*")):
            hint = f"did you mean {inside[0]}?"
        return f"{path} holds no version of model {name}; {hint}"

    async def close(self) -> None:
        """Lets all versions go."""
        for number in list(self.versions):
            self._retire(number)
        await asyncio.gather(*self._leaving)

    def _found(self) -> set[int]:
        try:
            return set(versions(self.config.base_path))
        except OSError:  # What was there goes on.
            return set()

    def _path(self, number: int) -> Path:
        return self.config.base_path / str(number)

    async def _load(self, number: int) -> None:
        name, path = self.config.name, self._path(number)
        self._note(number, ModelVersionStatus.LOADING)
        files = _files(path)
        try:
            loaded = await asyncio.to_thread(load, path, self.config.engine)
        except Exception as error:
            # Whatever it is that a file makes a runtime say.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._broken[number] = files
            self._note(number, ModelVersionStatus.END, f"version {number}: {reason}")
            if number not in self._told:
                self._told.add(number)
                self._tell(f"{name} version {number} is not served: {reason}")
            return
        if self.versions or number in self._told:
            self._tell(f"{name} version {number} is served")
        observe = functools.partial(self._metrics.computed, name)
        batcher = Batcher(loaded.run, self._batching, observe)
        self.versions[number] = Version(name, number, loaded, batcher)
        self._told.discard(number)
        self._note(number, ModelVersionStatus.AVAILABLE)
        self._metrics.version(name, number, is_served=True)

    def _retire(self, number: int) -> None:
        version = self.versions.pop(number)
        self._note(number, ModelVersionStatus.UNLOADING)
        self._metrics.version(self.config.name, number, is_served=False)

        async def leave() -> None:
            await version.let_go()
            self._note(number, ModelVersionStatus.END)
            # Graphs are circles of objects, whose memory is large and whose number is
            # small: left alone, Python would look for them too late.
            asyncio.get_running_loop().call_later(1, gc.collect)

        task = asyncio.create_task(leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _note(self, number: int, state: int, problem: str = "") -> None:
        status = ModelVersionStatus(version=number, state=state)
        status.status.error_code = StatusCode.UNKNOWN.value[0] if problem else 0
        status.status.error_message = problem
        self._statuses[number] = status


class Models:
    """All that is served.

    Args:
        batching: How requests are put together, for each version by itself.
        metrics: Told of versions and batches.
        tell: Takes a sentence on a version that is not served.

    Example:

    >>> models = Models(Batching(), Metrics(), print)
    >>> await models.apply([ModelConfig("resnet20", Path("serving/resnet20"))])
    >>> await models.find("resnet20").predict("serving_default", inputs)
    """

    def __init__(
        self, batching: Batching, metrics: Metrics, tell: Callable[[str], None]
    ) -> None:
        self._make = functools.partial(
            Model, batching=batching, metrics=metrics, tell=tell
        )
        self._models: dict[str, Model] = {}
        self._changing = asyncio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether there are models, and each has a version."""
        models = self._models.values()
        return bool(models) and all(model.versions for model in models)

    def __contains__(self, name: str) -> bool:
        """Tells whether there is a model of that name."""
        return name in self._models

    def served(self) -> list[Version]:
        """Returns all versions that answer, by model and number."""
        return [
            self._models[name].versions[number]
            for name in sorted(self._models)
            for number in sorted(self._models[name].versions)
        ]

    def find(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Version:
        """Returns the version that a request is for.

        Raises:
            Refusal: If there is none.
        """
        if name not in self._models:
            raise not_found(name, number)
        return self._models[name].find(number, label)

    def statuses(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> list[ModelVersionStatus]:
        """Returns the states of a model's versions, or of one.

        Raises:
            Refusal: If there is none.
        """
        if name not in self._models:
            which = "any versions" if number is None else f"version {number}"
            raise Refusal(
                StatusCode.NOT_FOUND, f"Could not find {which} of model {name}"
            )
        if label is not None:
            number = self._models[name].find(label=label).number
        return self._models[name].statuses(number)

    async def apply(self, configs: Sequence[ModelConfig]) -> None:
        """Serves these models and no others.

        Raises:
            UserError: If one of them has no version that can be loaded; all stays as
                it was.
        """
        async with self._changing:
            models, fresh = {}, []
            for config in configs:
                model = self._models.get(config.name)
                if model is None or _place(model.config) != _place(config):
                    model = self._make(config)
                    fresh.append(model)
                models[config.name] = model
            for model in fresh:
                await model.refresh()
                if not model.versions:
                    problem = model.problem()
                    await asyncio.gather(*(each.close() for each in fresh))
                    raise UserError(problem)
            old = [
                each for each in self._models.values() if each not in models.values()
            ]
            self._models = models
            for config in configs:
                models[config.name].config = config
                await models[config.name].refresh()
        await asyncio.gather(*(each.close() for each in old))

    async def watch(self, seconds: float) -> None:
        """Looks for other versions again and again."""
        while True:
            await asyncio.sleep(seconds)
            async with self._changing:
                for model in self._models.values():
                    await model.refresh()

    async def close(self) -> None:
        """Lets everything go."""
        await asyncio.gather(*(model.close() for model in self._models.values()))


def not_found(name: str, number: int | None) -> Refusal:
    """Returns TF Serving's refusal of what is not served."""
    which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return Refusal(StatusCode.NOT_FOUND, f"Servable not found for request: {which}")


def _place(config: ModelConfig) -> tuple[Path, str]:
    return config.base_path, config.engine


def _files(version: Path) -> object:
    """Returns what changes while files are still written."""
    try:
        return sorted(
            (path, (facts := path.stat()).st_size, facts.st_mtime_ns)
            for path in version.rglob("*")
        )
    except OSError:
        return None
