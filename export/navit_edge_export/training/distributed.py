"""Several processes that train one model: who they are, by the environment that torchrun sets."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Rank(NamedTuple):
    """One of ``ranks`` processes, counted from 0."""

    rank: int = 0
    ranks: int = 1
    local: int = 0


def join() -> Rank:
    """Joins the others if torchrun has started this process (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT): over NCCL if
    there are GPUs, otherwise gloo. Alone it is rank 0 of 1."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks == 1:
        return Rank()
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Rank(torch.distributed.get_rank(), ranks, int(os.environ.get("LOCAL_RANK", "0")))


def leave() -> None:
    """The end of what ``join`` began."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def device_of(name: str, rank: Rank) -> torch.device:
    """The device of a rank: with "cuda" each process of a machine has a GPU of its own."""
    device = torch.device(name)
    if device.type == "cuda" and rank.ranks > 1:
        device = torch.device("cuda", rank.local)
        torch.cuda.set_device(device)
    return device


def gathered(value: T, rank: Rank) -> list[T]:
    """The values of all ranks, in their order; every rank calls it at once."""
    if rank.ranks == 1:
        return [value]
    values: list[Any] = [None] * rank.ranks
    torch.distributed.all_gather_object(values, value)
    return values


def wrapped(module: nn.Module, rank: Rank) -> nn.Module:
    """The module itself if it is alone, otherwise in DistributedDataParallel, which gives all the weights of rank 0."""
    return DistributedDataParallel(module) if rank.ranks > 1 else module
