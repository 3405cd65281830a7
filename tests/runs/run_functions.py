"""Functions that the tests of the engine run, in workers too: so they live in a module of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any


def mixed(params: dict[str, Any]) -> dict[str, Any]:
    """A result with every kind of JSON value."""
    x = params["x"]
    return {"x": x, "third": x / 3.0, "list": [x, [None, True]], "text": "é\n", "types": type(params["pair"]).__name__}


def slow(params: dict[str, Any]) -> dict[str, Any]:
    """A run that leaves its process id in a folder and takes a moment."""
    (Path(params["folder"]) / str(os.getpid())).touch()
    time.sleep(params["seconds"])
    return {"x": params["x"] * 7}


def sometimes(params: dict[str, Any]) -> dict[str, Any]:
    """A run that fails until a file exists."""
    if params["x"] == 2 and not Path(params["switch"]).exists():
        raise RuntimeError("the switch is off")
    return {"x": params["x"]}


def poison(params: dict[str, Any]) -> dict[str, Any]:
    """A run that kills its worker when it is told to."""
    if params["poison"]:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return {"x": params["x"]}


def once(params: dict[str, Any]) -> dict[str, Any]:
    """A run whose worker is killed the first time only, as by a machine that is short of memory."""
    mark = Path(params["folder"]) / "killed"
    if params["x"] == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": params["x"]}


def impure(params: dict[str, Any]) -> dict[str, Any]:
    """Breaks the contract: depends on more than its parameters."""
    return {"time": time.time_ns()}


def bad(params: dict[str, Any]) -> Any:
    """Results that are refused."""
    return {"nan": {"x": float("nan")}, "list": [1], "exit": None}[params["kind"]] or exit(3)


class Wordless(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def strange(params: dict[str, Any]) -> dict[str, Any]:
    """Errors that are unlike others."""
    if params["kind"] == "wordless":
        raise Wordless
    if params["kind"] == "cancelled":
        raise asyncio.CancelledError("enough")
    if params["kind"] == "long":
        raise ValueError("a" * (1 << 20))
    return {"x": params["x"]}


def large(params: dict[str, Any]) -> dict[str, Any]:
    """A result of so many bytes, or so deep."""
    deep: list[Any] = []
    for _ in range(params["depth"]):
        deep = [deep]
    return {"text": "a" * params["bytes"], "deep": deep}


def threads(params: dict[str, Any]) -> dict[str, Any]:
    """How many threads torch was given."""
    import torch

    return {"threads": torch.get_num_threads()}


def counted(params: dict[str, Any]) -> dict[str, Any]:
    """A run that leaves a line for each time it is begun, and takes a moment."""
    with (Path(params["folder"]) / "begun").open("a") as stream:
        stream.write(f"{params['x']} {os.getpid()}\n")
    time.sleep(params["seconds"])
    return {"x": params["x"]}
