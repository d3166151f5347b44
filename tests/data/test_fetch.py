"""Fetching from a server on this machine that misbehaves in every way that a server can."""

import collections
import csv
import dataclasses
import datetime
import email.utils
import errno
import hashlib
import http.client
import http.server
import io
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from hpax import atlas, files
from hpax.data import build, download, fetch
from hpax.formats import fields, proteinatlas

QUICK = {"pause": 0.001, "rate": 1e6, "timeout": 5.0}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked[self.path].append(dict(self.headers))
        behaviour = server.behaviours.get(self.path, [])
        behave = behaviour.pop(0) if behaviour else serve
        behave(self, server.files.get(self.path))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def serve(handler, body):
    """As a good server does, with ranges."""
    if body is None:
        handler.answer(404)
    elif wanted := handler.headers.get("Range"):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            handler.answer(416, Content_Range=f"bytes */{len(body)}")
        else:
            handler.answer(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        handler.answer(200, body)


def whole(handler, body):
    """As a server that knows no ranges."""
    handler.answer(200, body)


def broken(handler, body):
    handler.answer(500)


def busy(handler, body):
    handler.answer(429, Retry_After=1)


def cut(handler, body):
    handler.answer(200, body[: len(body) // 2], Content_Length=len(body))
    handler.close_connection = True


def cut_silently(handler, body):
    handler.answer(200, body[: len(body) // 2], Content_Length=None, Connection="close")
    handler.close_connection = True


def other_range(handler, body):
    handler.answer(206, body, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}")


def page(handler, body):
    handler.answer(200, b"<html>not found</html>")


def pour(handler):
    """More than anyone should read, until the other side hangs up."""
    handler.close_connection = True
    try:
        for _ in range(10_000):
            handler.wfile.write(bytes(2**16))
        handler.server.drained = True
    except OSError:
        pass


def endless(handler, body):
    handler.answer(200, b"", Content_Length=None, Connection="close")
    pour(handler)


def huge(handler, body):
    handler.answer(200, body, Content_Length=2**40)
    handler.close_connection = True


def trickle(handler, body):
    handler.answer(200, b"", Content_Length=len(body))
    handler.close_connection = True
    try:
        for byte in body[:40]:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        pass


def loris(handler, body):
    """Headers without end, a few bytes at a time."""
    handler.close_connection = True
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(90):
            handler.wfile.write(b"X-%d: a\r\n" % number)
            time.sleep(0.05)
    except OSError:
        pass


def loris_elsewhere(handler, body):
    handler.answer(302, Location="/loris")


def endless_redirection(handler, body):
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.end_headers()
    pour(handler)


def numbers(handler, body):
    handler.answer(200, body, Content_Length="9" * 5000, Connection="close")
    handler.close_connection = True


def redirect(where):
    return lambda handler, body: handler.answer(302, Location=where)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.behaviours, server.asked = {}, {}, collections.defaultdict(list)
    server.drained = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.base = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG")
    return file.getvalue()


@pytest.fixture
def wanted(server, tmp_path):
    """Three fields of two wells that the server has."""
    lines = ["antibody,plate,well,field,label,gene"]
    lines += [f"HPA00000{a},{a},A{a},{f},0|16,GENE{a}" for a, f in ((1, 1), (1, 2), (2, 1))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    wanted = proteinatlas.read_list(tmp_path / "list.csv")
    for number, field in enumerate(wanted):
        for index, channel in enumerate(atlas.CHANNELS):
            server.files[field.url(channel, base="")] = picture(4 * number + index)
    return wanted


def run(server, wanted, folder, **manners):
    return fetch.fetch(wanted, folder, base=server.base, manners=download.RateLimit(**QUICK | manners))


def ids(wanted):
    return [field.id for field in wanted]


def whole_set(server, folder):
    got = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != fetch.TABLE}
    return got == {path.rsplit("/", 1)[1]: body for path, body in server.files.items()}


def test_what_comes_is_what_the_builder_reads(server, wanted, tmp_path):
    report = run(server, wanted, tmp_path / "fields")
    assert report == fetch.Report([], ids(wanted), [])
    assert whole_set(server, tmp_path / "fields")
    data = build("hpa_fields", tmp_path / "data", source=tmp_path / "fields", um_per_pixel=0.1)
    assert data.table["group_id"].value_counts().to_dict() == {"1_A1": 2, "2_A2": 1}
    assert set(data.table["protein"]) == {"GENE1", "GENE2"}
    assert set(data.table["antibody"]) == {"1", "2"}
    assert [np.flatnonzero(row).tolist() for row in data.labels] == [[0, 16]] * 3


def test_a_second_run_asks_for_nothing_and_lists_add_up(server, wanted, tmp_path):
    run(server, wanted[:1], tmp_path / "fields")
    server.asked.clear()
    report = run(server, wanted[:1], tmp_path / "fields")
    assert report == fetch.Report(ids(wanted[:1]), [], [])
    assert not server.asked
    run(server, wanted[1:], tmp_path / "fields")
    assert set(fields.read_annotations(tmp_path / "fields" / fetch.TABLE)) == set(ids(wanted))


@pytest.mark.parametrize(
    "behaviours",
    [
        [broken],
        [broken, broken, broken],
        [busy],
        [cut],
        [cut, cut],
        [cut, whole],
        [cut, other_range],
        [cut_silently],
        [cut, broken, serve],
    ],
    ids=lambda behaviours: "-".join(behaviour.__name__ for behaviour in behaviours),
)
def test_passing_faults_leave_no_trace(server, wanted, tmp_path, behaviours):
    path = wanted[1].url("nucleus", base="")
    server.behaviours[path] = list(behaviours)
    begun = time.monotonic()
    report = run(server, wanted, tmp_path / "fields")
    assert report == fetch.Report([], ids(wanted), [])
    assert whole_set(server, tmp_path / "fields")
    assert time.monotonic() - begun > (1 if busy in behaviours else 0)


def test_a_cut_picture_goes_on_where_it_was_cut(server, wanted, tmp_path):
    path = wanted[0].url("er", base="")
    server.behaviours[path] = [cut]
    run(server, wanted, tmp_path / "fields")
    assert [asked.get("Range") for asked in server.asked[path]] == [None, f"bytes={len(server.files[path]) // 2}-"]


@pytest.mark.parametrize("second", [serve, whole, other_range])
def test_bytes_are_right_even_where_no_check_could_tell(server, tmp_path, second):
    server.files["/numbers"] = bytes(range(200))
    server.behaviours["/numbers"] = [cut, second]
    downloader = download.Downloader(download.RateLimit(**QUICK))
    downloader.get(f"{server.base}/numbers", tmp_path / "numbers", lambda path: None)
    assert (tmp_path / "numbers").read_bytes() == bytes(range(200))


@pytest.mark.parametrize("left", [lambda body: body, lambda body: body + b"x", lambda body: b"another file's start"])
def test_what_a_killed_run_left_is_checked(server, wanted, tmp_path, left):
    (tmp_path / "fields").mkdir()
    name = wanted[0].file("protein")
    (tmp_path / "fields" / f"{name}.part").write_bytes(left(server.files[wanted[0].url("protein", base="")]))
    assert run(server, wanted, tmp_path / "fields").fetched == ids(wanted)
    assert whole_set(server, tmp_path / "fields")


def test_what_fails_is_reported_and_the_rest_goes_on(server, wanted, tmp_path):
    path = wanted[1].url("microtubules", base="")
    body = server.files.pop(path)
    report = run(server, wanted, tmp_path / "fields")
    assert report.fetched == [wanted[0].id, wanted[2].id]
    assert report.failures == [fetch.Failure(wanted[1].id, server.base + path, "there is none (HTTP 404)")]
    assert [found.id for found in fields.find_fields(tmp_path / "fields")] == report.fetched
    with (tmp_path / "fields" / proteinatlas.FAILURES).open() as file:
        assert [row["url"] for row in csv.DictReader(file)] == [server.base + path]
    assert len(build("hpa_fields", tmp_path / "data", source=tmp_path / "fields")) == 2
    server.files[path] = body
    server.asked.clear()
    assert run(server, wanted, tmp_path / "fields") == fetch.Report(report.fetched, [wanted[1].id], [])
    assert whole_set(server, tmp_path / "fields")
    bodies = [path for path, asked in server.asked.items() if "Range" not in asked[0]]
    assert bodies == [path]


@pytest.mark.parametrize(
    ("behaviour", "told", "asked"),
    [
        (broken, "HTTP 500 .*gave up after 3 attempts", 3),
        (lambda handler, body: handler.answer(403), "HTTP 403", 1),
        (page, "is not an image", 1),
        (huge, f"has {2**40} bytes, more than max_bytes", 1),
        (endless, "has more than max_bytes", 1),
        (trickle, "took more than 0.2 seconds", 3),
        (loris, "took more than 0.2 seconds", 3),
        (loris_elsewhere, "took more than 0.2 seconds", 3),
        (endless_redirection, "there is none", 1),
        (redirect("http://[::1"), "answers with nonsense: Invalid IPv6 URL", 1),
        (redirect("file:///etc/passwd"), "HTTP 302|another server", 1),
        (redirect("ftp://127.0.0.1/x"), "another server", 1),
        (redirect("http://example.org/x.jpg"), "is redirected to http://example.org/x.jpg, another server", 1),
        (redirect("/1/1_A1_1_green.jpg?again"), "HTTP 302", None),
    ],
)
def test_a_bad_server_fails_one_picture_only(server, wanted, tmp_path, behaviour, told, asked):
    path = wanted[0].url("protein", base="")
    server.behaviours |= {path: [behaviour] * 50, path + "?again": [behaviour] * 50, "/loris": [loris] * 9}
    report = run(server, wanted, tmp_path / "fields", attempts=3, deadline=0.2, max_bytes=2**20)
    (failure,) = report.failures
    assert report.fetched == ids(wanted)[1:]
    assert re.search(told, failure.reason)
    assert asked is None or len(server.asked[path]) == asked
    assert not server.drained
    part = tmp_path / "fields" / f"{wanted[0].file('protein')}.part"
    assert not part.exists() or part.stat().st_size < 100


def test_a_redirection_on_the_same_server_is_followed(server, wanted, tmp_path):
    path = wanted[0].url("protein", base="")
    server.files["/moved"] = server.files[path]
    server.behaviours[path] = [redirect("/moved")]
    assert run(server, wanted, tmp_path / "fields").fetched == ids(wanted)


def test_digests_are_kept_to(server, tmp_path):
    body = picture(0)
    digest = hashlib.sha256(body).hexdigest()
    rows = [f"1,1,A1,1,{digest}", f"1,1,A1,2,{64 * '0'}"]
    (tmp_path / "list.csv").write_text("\n".join(["antibody,plate,well,field,sha256_red", *rows]))
    wanted = proteinatlas.read_list(tmp_path / "list.csv")
    server.files |= {field.url(channel, base=""): body for field in wanted for channel in atlas.CHANNELS}
    report = run(server, wanted, tmp_path / "fields")
    assert report.fetched == ["1_A1_1"]
    assert [failure.reason for failure in report.failures] == [f"its sha256 is {digest}, but the list says {64 * '0'}"]
    Image.new("L", (9, 9)).save(tmp_path / "fields" / "1_A1_1_red.jpg")
    assert run(server, wanted, tmp_path / "fields").fetched == ["1_A1_1"]
    assert (tmp_path / "fields" / "1_A1_1_red.jpg").read_bytes() == body


def test_guessed_fields_may_be_absent_but_not_all_of_them(server, tmp_path):
    (tmp_path / "list.csv").write_text("antibody,plate,well\n1,1,A1\n1,2,A2\n")
    wanted = proteinatlas.read_list(tmp_path / "list.csv", fields=3)
    server.files |= {wanted[1].url(channel, base=""): picture(0) for channel in atlas.CHANNELS}
    report = run(server, wanted, tmp_path / "fields")
    assert report.fetched == ["1_A1_2"]
    assert [(f.id, f.reason) for f in report.failures] == [("2_A2", "none of the fields 1, 2, 3 is there")]
    assert sum(map(len, server.asked.values())) == 3 + 3 + 3


def test_no_more_than_the_rate(server, wanted, tmp_path):
    begun = time.monotonic()
    run(server, wanted, tmp_path / "fields", rate=40.0, workers=8)
    assert time.monotonic() - begun > 11 / 40
    agents = {asked["User-Agent"].split("/")[0] for some in server.asked.values() for asked in some}
    assert agents == {"hpax"}


def test_redirections_count_against_the_rate(server, wanted, tmp_path):
    for field in wanted:
        for channel in atlas.CHANNELS:
            path = field.url(channel, base="")
            server.files[f"/moved{path}"] = server.files[path]
            server.behaviours[path] = [redirect(f"/moved{path}")]
    begun = time.monotonic()
    assert run(server, wanted, tmp_path / "fields", rate=40.0, workers=8).fetched == ids(wanted)
    assert time.monotonic() - begun > 23 / 40


def test_a_length_of_5000_digits_is_none(server, wanted, tmp_path):
    server.behaviours[wanted[0].url("protein", base="")] = [numbers]
    assert run(server, wanted, tmp_path / "fields").fetched == ids(wanted)


def test_a_server_says_when_to_come_again_in_seconds_or_by_a_date():
    soon = email.utils.format_datetime(
        datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=50), usegmt=True
    )
    assert 40 < download._seconds(soon) <= 50
    assert 40 < download._seconds(soon.replace("GMT", "-0000")) <= 50
    assert download._seconds("7") == 7
    for nothing in ("", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "-3", "9" * 5000, "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert download._seconds(nothing) == 0


def test_an_interruption_stops_all_threads_and_keeps_what_came(server, wanted, tmp_path, monkeypatch):
    def interrupted(path, **_):
        raise KeyboardInterrupt

    server.behaviours[wanted[2].url("protein", base="")] = [trickle] * 9
    monkeypatch.setattr(fetch, "_check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(server, wanted, tmp_path / "fields")
    assert not [path for path in (tmp_path / "fields").iterdir() if path.suffix != ".part"]
    monkeypatch.undo()
    server.behaviours.clear()
    monkeypatch.setenv("no_proxy", "*")
    assert run(server, wanted, tmp_path / "fields").fetched == ids(wanted)
    assert whole_set(server, tmp_path / "fields")


def test_two_runs_do_not_share_a_folder(server, wanted, tmp_path):
    folder = tmp_path / "fields"
    folder.mkdir()
    with files.exclusive(folder), pytest.raises(ValueError, match="another process works in"):
        run(server, wanted, folder)


def test_the_command_line_fetches_and_says_what_failed(server, wanted, tmp_path, capfd):
    del server.files[wanted[1].url("microtubules", base="")]
    arguments = [str(tmp_path / "list.csv"), str(tmp_path / "fields"), "--base", server.base, "--rate", "1000"]
    with pytest.raises(SystemExit, match=r"1 pictures failed; .*failures\.csv lists them all"):
        fetch.main(arguments)
    out, err = capfd.readouterr()
    assert "2 fields came, 0 were there" in out
    assert "HTTP 404" in err
    with pytest.raises(SystemExit, match="base must be an http or https address"):
        fetch.main([*arguments, "--base", "file:///etc"])
    with pytest.raises(SystemExit, match="2"):
        fetch.main([*arguments, "--rate", "0"])
    assert "rate must be positive" in capfd.readouterr().err


def test_the_module_runs():
    command = [sys.executable, "-W", "error", "-m", "hpax.data.fetch", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--max-bytes" in run.stdout
    assert run.stderr == ""


def test_a_table_that_somebody_wrote_keeps_its_labels_and_columns(server, wanted, tmp_path):
    (tmp_path / "fields").mkdir()
    table = tmp_path / "fields" / fetch.TABLE
    table.write_text(f"Score;id;labels;gene\n7;{wanted[0].id};5;MINE\n8;other;3;\n")
    wanted[0] = dataclasses.replace(wanted[0], notes={"labels": "", "gene": "GENE1", "cell_line": ""})
    run(server, wanted, tmp_path / "fields")
    rows = {row["id"]: row for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())}
    assert list(rows) == [wanted[0].id, "other", *ids(wanted[1:])]
    first = {"antibody": "1", "labels": "5", "gene": "GENE1", "cell_line": "", "score": "7"}
    assert rows[wanted[0].id] == {"id": wanted[0].id, **first}
    assert rows["other"]["score"] == "8"
    assert rows[wanted[1].id]["labels"] == "0|16"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("field,label\na,1\n", "fields.csv needs the column id, got field, label; rename"),
        ("id,label\na,1\n,2\n", "fields.csv, line 3: there is no id"),
        ("id,label\na,1\na,2\n", "fields.csv, line 3: id a comes twice"),
    ],
)
def test_a_table_of_no_fields_is_told_of_before_anything_is_fetched(server, wanted, tmp_path, text, told):
    (tmp_path / "fields").mkdir()
    (tmp_path / "fields" / fetch.TABLE).write_text(text)
    with pytest.raises(ValueError, match=told):
        run(server, wanted, tmp_path / "fields")
    assert not server.asked
    assert (tmp_path / "fields" / fetch.TABLE).read_text() == text


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN])
def test_a_line_that_goes_while_bytes_come_is_asked_again(server, wanted, tmp_path, monkeypatch, number):
    faults = [OSError(number, os.strerror(number))]
    read1 = http.client.HTTPResponse.read1

    def read(reply, *size):
        if faults:
            raise faults.pop()
        return read1(reply, *size)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read)
    assert run(server, wanted, tmp_path / "fields", workers=1) == fetch.Report([], ids(wanted), [])
    faults += [OSError(number, os.strerror(number))] * 5
    server.files[wanted[0].url("nucleus", base="")] = picture(99)
    (tmp_path / "fields" / wanted[0].file("nucleus")).unlink()
    report = run(server, wanted, tmp_path / "fields", workers=1)
    assert [failure.id for failure in report.failures] == [wanted[0].id]
    assert f"{os.strerror(number)}; gave up after 5 attempts" in report.failures[0].reason


def test_a_full_disk_is_no_fault_of_the_line(server, wanted, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(http.client.HTTPResponse, "read1", full)
    with pytest.raises(OSError, match="No space left"):
        run(server, wanted, tmp_path / "fields")
