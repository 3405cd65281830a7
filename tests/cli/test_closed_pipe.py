"""Readers that leave early (`strongticket ... | head -1`) end the command quietly, whatever it was about to print."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "buffered"),
    [(["--help"], True), (["--help"], False), (["bound", "list"], True), (["find", "-h"], True)],
)
def test_a_reader_that_has_gone_is_no_error(arguments: list[str], buffered: bool) -> None:
    read, write = os.pipe()
    os.close(read)  # before anything is printed
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-m", "strongticket", *arguments]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141  # what a shell reports of a program that a closed pipe ended


def test_bad_usage_and_help_keep_their_status() -> None:
    for arguments, status in ((["--help"], 0), (["nonsense"], 2), (["bound", "nope"], 2)):
        command = [sys.executable, "-m", "strongticket", *arguments]
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == status
