"""Whole objects under a prefix of an S3-compatible bucket: put, take, list, remove; torch-free.

An object appears whole or not at all, and replaces the one before it at once. Credentials come from
the machine's environment (`AWS_ACCESS_KEY_ID` and so on) or its `~/.aws`, never from the address,
which is recorded.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from search_spaces.model import UserError
from trainables.state_files import beside

ResultT = TypeVar("ResultT")
SCHEME = "s3://"
OPTIONS = ("endpoint_override", "region", "scheme")
PATIENCE_S = 120.0
"""How long a store may be away before a trial gives up."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
HOPELESS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
"""What no waiting mends, as AWS's library names it."""
CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 10.0, 60.0
CHUNK_BYTES = 1 << 24
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class StoreUnreachable(UserError):  # noqa: N818 (its name says enough)
    """The store did not do what it was asked, however often."""


def is_object_store(where: str) -> bool:
    """Return whether a storage is a bucket rather than a folder."""
    return where.startswith(SCHEME)


def check_address(uri: str) -> str:
    """Return the address of a bucket's prefix if it is one.

    >>> check_address("s3://faces/runs?endpoint_override=10.0.0.2:8333&scheme=http")
    's3://faces/runs?endpoint_override=10.0.0.2:8333&scheme=http'

    Raises
    ------
    UserError
        If it is of another form, has an unknown option, or holds a password.
    """
    form = f"s3://BUCKET/PREFIX, with ?{'=…&'.join(OPTIONS)}=… where needed"
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise UserError(
            "storage must not hold a password, since it is recorded; set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY on every machine"
        )
    if not uri.startswith(SCHEME) or not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
        raise UserError(f"storage must be a folder or {form}, but got {uri!r}")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise UserError(f"storage must be {form}, but got the option {name!r}")
    return uri


def under(uri: str, name: str) -> str:
    """Return the address of a prefix below another.

    >>> under("s3://faces/runs/?region=eu-west-1", "periodic_T")
    's3://faces/runs/periodic_T?region=eu-west-1'
    """
    base, mark, options = uri.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


class ObjectStore:
    """The objects under a prefix.

    Parameters
    ----------
    uri : str
        See `check_address`.
    patience_s : float
        How long a request is repeated before it counts as failed.
    """

    def __init__(self, uri: str, patience_s: float = PATIENCE_S) -> None:
        self._uri, self._patience_s = uri, patience_s
        self._opened: tuple[Any, str] | None = None

    def put(self, name: str, source: Path) -> None:
        """Make an object of a file; on return it is there, whole."""
        import pyarrow as pa

        size = source.stat().st_size
        # One write of all: a stream that ends early would leave half an object behind.
        content = pa.memory_map(str(source)).read_buffer() if size else b""

        def upload(files: Any, base: str) -> None:
            with files.open_output_stream(f"{base}/{name}") as stream:
                stream.write(content)

        self._ask(f"put {name}", upload)

    def put_bytes(self, name: str, content: bytes) -> None:
        """Make an object of some bytes."""

        def upload(files: Any, base: str) -> None:
            with files.open_output_stream(f"{base}/{name}") as stream:
                stream.write(content)

        self._ask(f"put {name}", upload)

    def take(self, name: str, target: Path) -> bool:
        """Bring an object to a file, whole or not at all; return False if there is none."""
        unfinished = beside(target)

        def download(files: Any, base: str) -> None:
            with files.open_input_stream(f"{base}/{name}") as stream, unfinished.open("wb") as file:
                shutil.copyfileobj(stream, file, CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())

        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._ask(f"take {name}", download)
            unfinished.replace(target)
        except FileNotFoundError:
            return False
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    def read_bytes(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is none."""

        def download(files: Any, base: str) -> bytes:
            with files.open_input_stream(f"{base}/{name}") as stream:
                return bytes(stream.read())

        try:
            return self._ask(f"take {name}", download)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""

        def delete(files: Any, base: str) -> None:
            from pyarrow.fs import FileType

            if files.get_file_info(f"{base}/{name}").type == FileType.File:
                files.delete_file(f"{base}/{name}")

        self._ask(f"remove {name}", delete)

    def move(self, name: str, new: str) -> None:
        """Give an object another name, replacing at once what had it; nothing is sent again.

        Raises
        ------
        FileNotFoundError
            If there is no such object.
        """

        def copy(files: Any, base: str) -> None:
            files.copy_file(f"{base}/{name}", f"{base}/{new}")

        self._ask(f"move {name}", copy)
        self.remove(name)

    def names(self) -> list[str]:
        """Return the names of all objects, sorted."""

        def listed(files: Any, base: str) -> list[str]:
            from pyarrow.fs import FileSelector, FileType

            found = files.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
            return sorted(
                one.path.removeprefix(f"{base}/") for one in found if one.type == FileType.File
            )

        return self._ask("list", listed)

    def _ask(self, what: str, request: Callable[[Any, str], ResultT]) -> ResultT:
        """Return what a request gives, repeating it while the store cannot be reached.

        Raises
        ------
        FileNotFoundError
            If there is no such object.
        StoreUnreachable
            If it still fails when patience ends.
        """
        give_up, wait_s = time.monotonic() + self._patience_s, FIRST_WAIT_S
        while True:
            try:
                return request(*self._open())
            except FileNotFoundError:
                raise
            except OSError as error:  # all that AWS's library says
                if "NO_SUCH_KEY" in str(error):
                    raise FileNotFoundError(str(error)) from error
                hopeless = any(word in str(error) for word in HOPELESS)
                if error.errno is not None or hopeless or time.monotonic() + wait_s > give_up:
                    if error.errno is not None:  # this machine's own disk
                        raise
                    raise StoreUnreachable(
                        f"Storage {self._uri} failed to {what}: {_reason(error)}. Check its address"
                        " and that every machine reaches it with credentials."
                    ) from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            self._opened = _opened(self._uri)
        return self._opened


def _opened(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system of an address, and the prefix in it."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region

    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    if not {"region", "endpoint_override"} & options.keys():
        options["region"] = resolve_s3_region(parts.netloc)
    files = S3FileSystem(
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),  # `_ask` repeats them
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        **options,
    )
    return files, f"{parts.netloc}{parts.path}".rstrip("/")


def _reason(error: OSError) -> str:
    """Return what AWS's library means, without its request numbers."""
    text = " ".join(str(error).split())
    text = re.sub(r" \(Request ID: [^)]*\)", "", text).rstrip(".")
    found = re.search(r"AWS Error (\w+)(?: during \w+ operation)?:? ?(.*)", text)
    return f"{found[1]} {found[2]}".strip()[:200] if found else text[:200]
