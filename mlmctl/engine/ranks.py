"""Ranks: the processes that compute one step together, and the few things they say to each other.

`torchrun` starts them and tells each its number; `torch.distributed` carries what they say: gloo between
CPUs, NCCL between GPUs. Whatever is added up is added in a fixed order, so the same number of ranks gives the
same bits. Numbers and texts go as numbers and JSON, never as pickles. A process that was started alone has
the same object, `ALONE`, to which nothing is said and from which everything comes back as it was.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ResourceError, UsageError, is_out_of_memory, one_line

if TYPE_CHECKING:
    from torch import Tensor

_BUCKET_BYTES = 2**25
"""Of gradients sent at once: enough for full speed, and one is copied while another is sent."""

_SOURCE = re.compile(r"^\[\S+:\d+\] ")
"""Where in the source of a library an error was raised: no news to a user."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Place:
    """Which process this is, as `torchrun` said in the environment: the only one, if nobody said anything."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def read(cls) -> Place:
        """From RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE. UsageError for what is no place."""
        names = {"rank": 0, "world_size": 1, "local_rank": 0, "local_world_size": 1}
        texts = {name: os.environ.get(name.upper(), str(alone)) for name, alone in names.items()}
        try:
            place = cls(**{name: int(text) for name, text in texts.items()})
        except ValueError:
            place = cls(rank=-1)
        if not 0 <= place.rank < place.world_size or not 0 <= place.local_rank < place.local_world_size:
            found = ", ".join(f"{name.upper()}={text}" for name, text in texts.items())
            raise UsageError("usage.ranks", f"the environment says {found}", hint="start it with torchrun")
        return place


@dataclass
class Ranks:
    """This process among its equals. What is said here is said by all of them at the same point."""

    place: Place = field(default_factory=Place)
    seconds: float = 0.0
    """Spent so far in speaking and in waiting for the others to speak."""
    store: Any = None
    """Where the processes of this start leave each other messages."""

    @classmethod
    def join(cls, place: Place, timeout: float, device: str = "auto") -> Ranks:
        """Meet the others where `torchrun` says, each with a GPU of its own unless `device` is `cpu`.

        ResourceError `resource.device` if there are fewer GPUs here than ranks, `ranks.lost` if they do not
        all come in `timeout` seconds, and later from every method that had to wait so long, or whose partner
        has died.
        """
        import torch
        import torch.distributed as dist
        from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

        ranks = cls(place)
        backend = "gloo"
        if device != "cpu" and torch.cuda.is_available():
            _check_gpus(place, torch.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(place.local_rank)
        if place.local_world_size == place.world_size and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody else need be able to speak to us
        span = timedelta(seconds=timeout)
        with ranks._speaking():
            store, *_ = next(rendezvous("env://", place.rank, place.world_size, timeout=span))
            # torchrun keeps one store for all its starts of the ranks, with the addresses of those that died.
            ranks.store = PrefixStore(meet(store, place, timeout), store)
            dist.init_process_group(
                backend, store=ranks.store, rank=place.rank, world_size=place.world_size, timeout=span
            )
        return ranks

    @property
    def rank(self) -> int:
        return self.place.rank

    @property
    def world_size(self) -> int:
        return self.place.world_size

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    @property
    def is_first(self) -> bool:
        """The one that talks, writes and publishes."""
        return self.rank == 0

    def decide(self, decide: Callable[[], _T]) -> _T:
        """What the first rank decides: it alone calls the function, whose result must be plain JSON."""
        if self.is_alone:
            return decide()
        import torch

        text = json.dumps(decide(), allow_nan=False).encode() if self.is_first else b""
        size = torch.tensor([len(text)])
        self.copy([size])
        content = torch.frombuffer(bytearray(text or bytes(int(size))), dtype=torch.uint8)
        self.copy([content])
        decided: _T = json.loads(content.numpy().tobytes())
        return decided

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """The numbers of every rank, equally many, in the order of the ranks; exact (float64)."""
        if self.is_alone:
            return [list(values)]
        import torch

        return [row.tolist() for row in self.gather_tensors(torch.tensor(values, dtype=torch.float64))]

    def gather_tensors(self, tensor: Tensor) -> Sequence[Tensor]:
        """The tensors of every rank, of one shape and type, in the order of the ranks."""
        if self.is_alone:
            return [tensor]
        import torch
        import torch.distributed as dist

        gathered = torch.empty((self.world_size, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
        with self._speaking():
            dist.all_gather(list(gathered.unbind()), tensor)
        return gathered.unbind()

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of one type and of the same shapes on every rank, by their sums over the ranks."""
        if self.is_alone:
            return
        import torch
        import torch.distributed as dist

        with self._speaking():
            sent = []
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, handle in sent:
                handle.wait()
                for tensor, part in zip(bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True):
                    tensor.copy_(part.view_as(tensor))

    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first rank, which are of the same shapes and types."""
        if self.is_alone:
            return
        import torch.distributed as dist

        with self._speaking():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def leave(self) -> None:
        """Say no more."""
        import torch.distributed as dist

        dist.destroy_process_group()

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise lost(self.place, one_line(error)) from None
        finally:
            self.seconds += time.monotonic() - start


def _check_gpus(place: Place, num_gpus: int) -> None:
    if place.local_world_size > num_gpus:
        raise ResourceError(
            "resource.device",
            f"{place.local_world_size} ranks on this machine want a GPU each, there are {num_gpus}",
            hint=f"torchrun --nproc-per-node {num_gpus}, or --device cpu",
        )


ALONE = Ranks()
"""A process that was started by itself, or does something by itself."""


def simulated(rank: int, world_size: int) -> Ranks:
    """A rank's place without the others: what it would compute of a step, for tests and measurements."""
    return Ranks(replace(ALONE.place, rank=rank, world_size=world_size))


def lost(place: Place, why: str) -> ResourceError:
    """The error of a rank that hears nothing of another one."""
    return ResourceError(
        "ranks.lost",
        f"rank {place.rank} of {place.world_size} lost contact to another one: {_SOURCE.sub('', why)[:200]}",
        hint="the same command continues from the last checkpoint",
    )


def meet(store: Any, place: Place, timeout: float) -> str:
    """Wait for all ranks of this start; a name for it that nothing of an earlier start has in the store.

    Each of the others says hello with a word of its own; the first answers the word with the name. What is
    left of an earlier start is answered too, but nobody listens to that.
    """
    until = time.monotonic() + timeout
    if place.rank:
        return _answered(store, place, until)
    name, answered = secrets.token_hex(8), dict[int, str]()
    missing = set(range(1, place.world_size))
    while missing:
        for rank in sorted(missing):
            word = _read(store, f"hello/{rank}")
            if word and word != answered.get(rank):
                answered[rank] = word
                store.set(f"answer/{rank}", word + name)
            if _read(store, f"here/{rank}") == name:
                missing.remove(rank)
        _wait(place, min(missing, default=0), until)
    return name


def _answered(store: Any, place: Place, until: float) -> str:
    word = secrets.token_hex(8)
    store.set(f"hello/{place.rank}", word)
    while not (answer := _read(store, f"answer/{place.rank}")).startswith(word):
        _wait(place, 0, until)
    name = answer.removeprefix(word)
    store.set(f"here/{place.rank}", name)
    return name


def _wait(place: Place, other: int, until: float) -> None:
    if time.monotonic() > until:
        raise lost(place, f"rank {other} has not come")
    time.sleep(0.02)


def _read(store: Any, key: str) -> str:
    return str(store.get(key).decode()) if store.check([key]) else ""


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.nbytes > _BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
