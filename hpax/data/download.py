"""One file from a web server that may be slow, broken or hostile."""

import contextlib
import dataclasses
import datetime
import email.utils
import errno
import functools
import http.client
import pathlib
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import hpax

_CHUNK = 2**16  # bytes
_LONGEST_PAUSE = 60.0  # seconds
_PASSING = {408, 425, 429, *range(500, 600)}
_BROKEN_LINES = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ssl.SSLError)
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}  # of an OSError without a class


class Refused(Exception):
    """What the server gives will not do, and asking again would not change it."""


class Missing(Refused):
    """The server has no such file."""


class _Again(Exception):
    """What the server gave will not do this time."""

    def __init__(self, reason: str, *, after: str | None = None):
        super().__init__(reason)
        self.after = _seconds(after or "")  # that the server asks for


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateLimit:
    """How to ask, so that the server is not overrun and a bad one does no harm."""

    workers: int = 4  # files at a time
    rate: float = 8.0  # requests per second, of all workers together
    attempts: int = 5  # for one file
    pause: float = 1.0  # seconds before the second attempt; doubles with each
    timeout: float = 30.0  # seconds without a byte
    deadline: float = 600.0  # seconds for one attempt, from its first byte to the last, redirections included
    max_bytes: int = 2**26  # of one file; the largest HPA field has 9.4 megapixels

    def __post_init__(self) -> None:
        for field in dataclasses.fields(RateLimit):
            if not (value := getattr(self, field.name)) > 0:
                raise ValueError(f"{field.name} must be positive, got {value}")


class Downloader:
    """Fetches files politely; its methods may be called from several threads."""

    def __init__(self, manners: RateLimit):
        self.manners = manners
        self._tls = ssl.create_default_context()
        self._lock, self._slot, self._stopped = threading.Lock(), 0.0, threading.Event()

    def stop(self) -> None:
        """Makes every `get` end soon with Refused; what came so far stays."""
        self._stopped.set()

    def get(self, url: str, path: pathlib.Path, check: Callable[[pathlib.Path], None]) -> None:
        """Fetches `url` into `path`, going on with what is there, until `check`, which raises ValueError, is content.

        Raises:
            Missing: there is no such file.
            Refused: the server answers wrongly, with too much, or not even after several attempts.
        """
        fault: Exception = _Again("was not asked for")
        for attempt in range(self.manners.attempts):
            if attempt:
                self._wait(max(min(self.manners.pause * 2 ** (attempt - 1), _LONGEST_PAUSE), _after(fault)))
            self._wait(self._turn())
            try:
                return self._attempt(url, path, check)
            except urllib.error.HTTPError as error:
                fault = _fault(error)
            except (_Again, *_BROKEN_LINES) as error:
                fault = error
            except ValueError as error:
                raise Refused(f"answers with nonsense: {str(error)[:200]}") from error
            except OSError as error:
                if error.errno not in _NO_ROUTE:  # of the disk
                    raise
                fault = error
        raise Refused(f"{_told(fault)}; gave up after {self.manners.attempts} attempts")

    def _turn(self) -> float:
        """Seconds to wait for one's turn, of all threads."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._slot, now)
            self._slot = turn + 1 / self.manners.rate
        return turn - now

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise Refused("stopped")

    def _attempt(self, url: str, path: pathlib.Path, check: Callable[[pathlib.Path], None]) -> None:
        known = self._received(url, path)
        try:
            check(path)
        except ValueError as error:
            path.unlink()
            if not known:  # the part that was there may be another file's, or the end is missing
                raise _Again(str(error)) from error
            raise Refused(str(error)) from error

    def _received(self, url: str, path: pathlib.Path) -> bool:
        """Appends what is missing to `path`, in time; says whether all of it came now, and is known to be all."""
        with _Deadline(self.manners.deadline) as deadline:
            try:
                known = self._ask(url, path, deadline)
            except (_Again, *_BROKEN_LINES) as error:
                if deadline.passed and not isinstance(error, urllib.error.HTTPError):
                    raise _Again(deadline.told) from error
                raise
            if deadline.passed:  # what looks like the end is none
                raise _Again(deadline.told)
            return known

    def _ask(self, url: str, path: pathlib.Path, deadline: "_Deadline") -> bool:
        start = path.stat().st_size if path.exists() else 0
        headers = {"User-Agent": f"hpax/{hpax.__version__}", "Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={start}-"} if start else {}
        try:
            request = urllib.request.Request(url, headers=headers)
            with self._opener(deadline).open(request, timeout=self.manners.timeout) as reply:
                start = _start(reply, start, path)
                return self._receive(reply, start, path) and not start
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not start:
                raise
            if error.headers.get("Content-Range") != f"bytes */{start}":
                path.unlink()
                raise _Again("what was there is no part of the file") from error
            return False

    def _opener(self, deadline: "_Deadline") -> urllib.request.OpenerDirector:
        """What asks: by nothing but HTTP, in time, and following redirections at the rate of all requests."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _HTTP(deadline),
            _HTTPS(deadline, self._tls),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _SameServer(lambda: self._wait(self._turn())),
        ):
            opener.add_handler(handler)
        return opener

    def _receive(self, reply: http.client.HTTPResponse, start: int, path: pathlib.Path) -> bool:
        """Appends what comes after `start`; says whether the server told how much there is."""
        length = reply.headers.get("Content-Length", "")
        expected = start + int(length) if re.fullmatch("[0-9]{1,20}", length) else None
        if expected is not None and expected > self.manners.max_bytes:
            raise Refused(f"has {expected} bytes, more than max_bytes {self.manners.max_bytes}")
        size = start
        with path.open("r+b" if start else "wb") as file:
            file.seek(start)
            while chunk := reply.read1(_CHUNK):
                size += len(chunk)
                if size > self.manners.max_bytes:
                    file.truncate(0)
                    raise Refused(f"has more than max_bytes {self.manners.max_bytes}")
                file.write(chunk)
                if self._stopped.is_set():
                    raise Refused("stopped")
        if expected is not None and size < expected:
            raise _Again(f"ended after {size} of {expected} bytes")
        return expected is not None


class _Deadline:
    """Ends all connections of an attempt when its time is over, whatever they wait for."""

    def __init__(self, seconds: float):
        self.told, self.passed = f"took more than {seconds} seconds", False
        self._lock, self._connections = threading.Lock(), contextlib.ExitStack()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._connections.close()
            self._sockets.clear()

    def watch(self, connection: socket.socket) -> None:
        """From now on, this connection ends in time."""
        own = connection.dup()  # as TLS takes the other one over
        with self._lock:
            self._sockets.append(self._connections.enter_context(own))
        if self.passed:
            self._end()

    def _end(self) -> None:
        self.passed = True
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):  # it has ended
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    """One that a deadline watches."""

    def __init__(self, *arguments: Any, deadline: _Deadline, **options: Any):
        super().__init__(*arguments, **options)
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self._deadline.watch(self.sock)


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """The same by TLS, which is spoken once `_Connection` is connected and watched."""


class _HTTP(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline):
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, deadline=self._deadline), req)


class _HTTPS(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline, context: ssl.SSLContext):
        super().__init__(context=context)
        self._deadline, self._tls = deadline, context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_SecureConnection, deadline=self._deadline, context=self._tls), req)


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only on the same host, and never from https to http or to a file."""

    def __init__(self, wait: Callable[[], None]):
        self._wait = wait

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,  # an HTTPResponse, which is no typing.IO
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # or all that it holds would be read
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        secured = (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname
        if (old.scheme, old.netloc) != (new.scheme, new.netloc) and not secured:
            raise Refused(f"is redirected to {newurl[:200]}, another server; give that one as base if it is right")
        self._wait()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _seconds(after: str) -> float:
    """What `Retry-After` asks for, in seconds or as a date; 0 where it is neither."""
    if re.fullmatch("[0-9]{1,9}", after):
        return float(after)
    try:
        date = email.utils.parsedate_to_datetime(after)
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


def _start(reply: http.client.HTTPResponse, start: int, path: pathlib.Path) -> int:
    """Where the reply's bytes belong: a server that knows no ranges sends everything."""
    if reply.status != 206:
        return 0
    if not re.match(rf"bytes {start}-", reply.headers.get("Content-Range", "")):
        path.unlink(missing_ok=True)
        raise _Again(f"sent {reply.headers.get('Content-Range')} where bytes {start}- were asked for")
    return start


def _fault(error: urllib.error.HTTPError) -> _Again:
    """What to do about an error status: try again, or raise."""
    error.close()
    if error.code in (404, 410):
        raise Missing(f"there is none (HTTP {error.code})") from error
    if error.code not in _PASSING:
        raise Refused(f"HTTP {error.code} {error.reason}") from error
    return _Again(f"HTTP {error.code} {error.reason}", after=error.headers.get("Retry-After"))


def _after(fault: Exception) -> float:
    return min(getattr(fault, "after", 0.0), _LONGEST_PAUSE)


def _told(fault: Exception) -> str:
    return str(getattr(fault, "reason", fault)) or type(fault).__name__
