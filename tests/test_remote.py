"""Pictures in object storage, and on web servers, by the whole command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from poolcli.cpus import usable_cpus
from poolcli.errors import PoolError
from poolcli.executors import WORKERS_A_CPU, Serial, choose
from poolcli.executors.processes import Processes
from poolcli.storage import Place, objects, place_of
from poolcli.storage.remote import Remote
from tests.executor_support import job
from tests.storage_support import object_in_memory
from tests.support.object_store import SECRETS, Bucket, Proxy
from tests.support.processes import PATIENCE, Done, Run, Words, either_executor, started
from tests.support.terminal import Terminal
from tests.support.tools import extra
from tests.support.trees import PLACES

AVG = ("avg", "--size", 2)
DEAD = "http://127.0.0.1:9"
LEAKED = "pAsSwOrDoFaUrL"
WITHOUT_OBSTORE = "import sys; sys.modules['obstore'] = None"
IMPATIENT = "from poolcli.storage import objects; objects.RETRIES['max_retries'] = 2"
"""Python that makes a run give up a server soon."""


@pytest.fixture
def photos(s3: Bucket, gallery: Path) -> dict[str, bytes]:
    """The pictures of a small tree, in the bucket and in a folder; by their names."""
    found = {
        str(one.relative_to(gallery)): one.read_bytes()
        for one in gallery.rglob("*")
        if one.is_file()
    }
    for name, content in found.items():
        s3.put(f"in/{name}", content)
    s3.proxy.requests.clear()
    return found


@pytest.fixture
def results(run: Run, photos: dict[str, bytes], tmp_path: Path) -> dict[str, bytes]:
    """What local files become, by their names."""
    assert run(*AVG, "-q", "in", "local/").returncode == 0
    return {name: (tmp_path / "local" / name).read_bytes() for name in photos}


def below(prefix: str, bucket: Bucket) -> dict[str, bytes]:
    """The objects below a prefix, by their names there."""
    return {
        key.removeprefix(prefix): content
        for key, content in bucket.objects().items()
        if key.startswith(prefix)
    }


def methods(proxy: Proxy) -> Counter[str]:
    """How many requests of each method there were; listings are counted as LIST."""
    return Counter("LIST" if "list-type" in path else method for method, path in proxy.requests)


def message(done: Done, code: int = 2) -> str:
    """The only line of a run that fails."""
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.decode().splitlines()
    return line


# Folders


@either_executor
def test_a_tree_is_mirrored_with_one_request_for_each_picture(
    s3: Bucket, run: Run, results: dict[str, bytes], flags: Words
) -> None:
    done = run(*AVG, "-q", *flags, f"{s3.url}/in/", f"{s3.url}/out/")
    assert (done.returncode, done.stderr) == (0, b"")
    assert below("out/", s3) == results
    count = len(results)
    # One object is read and written once more, to find out whether it is protected.
    expected = {"LIST": 2, "GET": count + 1, "PUT": count + 1}
    assert methods(s3.proxy) == expected


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.usefixtures("photos")
def test_storages_may_be_mixed(
    s3: Bucket, run: Run, results: dict[str, bytes], tmp_path: Path, slash: str
) -> None:
    assert run(*AVG, "in", f"{s3.url}/up{slash}").returncode == 0
    assert run(*AVG, f"{s3.url}/in{slash}", "down").returncode == 0
    first, *_ = results
    assert run(*AVG, f"{s3.url}/in/{first}", f"in/{first}", "-t", f"{s3.url}/x").returncode == 2
    assert run(*AVG, f"{s3.url}/in/{first}", "-t", f"{s3.url}/x").returncode == 0
    assert below("up/", s3) == results
    assert {one: (tmp_path / "down" / one).read_bytes() for one in results} == results
    assert [*below("x/", s3).values()] == [results[first]]


@pytest.mark.usefixtures("photos")
def test_a_single_object_is_written_under_its_name(
    s3: Bucket, run: Run, results: dict[str, bytes]
) -> None:
    first, *_ = results
    name = f"one{os.path.splitext(first)[1]}"
    words = (*AVG, "--json", f"{s3.url}/in/{first}", f"{s3.url}/{name}")
    outcome, summary = map(json.loads, run(*words).stdout.splitlines())
    assert (outcome["input"], outcome["output"]) == words[-2:]
    assert (outcome["status"], outcome["output_bytes"]) == ("done", len(results[first]))
    assert summary["summary"]["bytes_in"] == outcome["input_bytes"] > 0
    assert s3.objects()[name] == results[first]
    assert "--overwrite" in message(run(*words))


@pytest.mark.parametrize("flag", ["", "--skip-existing", "--update", "--overwrite"])
def test_existing_objects_are_known_from_one_listing(
    s3: Bucket, run: Run, results: dict[str, bytes], flag: str
) -> None:
    first, *others = sorted(results)
    s3.put(f"out/{first}", b"old")
    done = run(*AVG, "--json", *([flag] if flag else []), f"{s3.url}/in/", f"{s3.url}/out/")
    assert methods(s3.proxy)["LIST"] == 2
    assert methods(s3.proxy)["HEAD"] == 0
    if not flag:
        assert f"exists already (1): {s3.url}/out/{first}" in message(done)
        assert below("out/", s3) == {first: b"old"}
        return
    *outcomes, _ = map(json.loads, done.stdout.splitlines())
    status = {one["output"].removeprefix(f"{s3.url}/out/"): one["status"] for one in outcomes}
    replaced = flag == "--overwrite"
    assert status == dict.fromkeys(others, "done") | {first: "done" if replaced else "skipped"}
    assert below("out/", s3) == results | ({} if replaced else {first: b"old"})


def test_an_output_that_is_older_than_its_input_is_updated(
    s3: Bucket, run: Run, results: dict[str, bytes]
) -> None:
    first, *_ = sorted(results)
    for name in results:
        s3.put(f"out/{name}", b"old")
    time.sleep(1.1)  # the server knows whole seconds
    s3.put(f"in/{first}", s3.objects()[f"in/{first}"])
    assert run(*AVG, "--update", f"{s3.url}/in/", f"{s3.url}/out/").returncode == 0
    expected = dict.fromkeys(results, b"old") | {first: results[first]}
    assert below("out/", s3) == expected


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--include", "*.PNG", "--no-recursive"], {"a.png": "a.png"}),
        (["--name", "{parent}-{stem}-{size}", "--include", "a.png"], {"a.png": "in-a-2.png"}),
        (["--include", "nothing"], {}),
    ],
    ids=["include", "name", "nothing"],
)
def test_names_are_chosen_as_in_local_folders(
    s3: Bucket, run: Run, picture: bytes, flags: list[str], names: dict[str, str]
) -> None:
    for key in ("in/a.png", "in/b.jpg", "in/sub/c.PNG", "in/.d.png", "in/notes.txt", "in/sub/"):
        s3.put(key, b"" if key.endswith("/") else picture)
    done = run(*AVG, *flags, f"{s3.url}/in/", f"{s3.url}/out/")
    assert done.returncode == (0 if names else 3)
    assert set(below("out/", s3)) == set(names.values())


def test_levels_of_one_object_are_read_once(s3: Bucket, run: Run, picture: bytes) -> None:
    s3.put("in/a.png", picture)
    assert run("max", "--levels", "2,4", f"{s3.url}/in/", f"{s3.url}/out/").returncode == 0
    assert set(below("out/", s3)) == {"a_2.png", "a_4.png"}
    assert [path for _, path in s3.proxy.requests].count(f"/{s3.name}/in/a.png") == 1


def test_a_list_names_objects_that_are_not_asked_for_beforehand(
    s3: Bucket, run: Run, results: dict[str, bytes], tmp_path: Path
) -> None:
    urls = [f"{s3.url}/in/{name}" for name in results]
    (tmp_path / "list").write_text("\n".join([*urls, f"{s3.url}/in/none.png"]))
    words = (*AVG, "-q", "--files-from", "list", f"{s3.url}/out/")
    assert "outside --relative-to" in message(run(*words))
    line = message(run(*words, "--relative-to", f"{s3.url}/in"), 1)
    assert line.startswith(f"poolcli: {s3.url}/in/none.png: it can't be read: there is no such")
    assert below("out/", s3) == results
    assert methods(s3.proxy)["HEAD"] == 0


def test_outputs_below_the_inputs_are_no_inputs(
    s3: Bucket, run: Run, results: dict[str, bytes]
) -> None:
    for _ in range(2):
        assert run(*AVG, "-f", f"{s3.url}/in", f"{s3.url}/in/out/").returncode == 0
    assert below("in/out/", s3) == results
    line = message(run(*AVG, f"{s3.url}/in/", f"{s3.url}/in"))
    assert "is both input and output" in line


@pytest.mark.usefixtures("photos")
def test_a_dry_run_writes_nothing(s3: Bucket, run: Run) -> None:
    done = run(*AVG, "-n", f"{s3.url}/in/", f"{s3.url}/out/")
    assert done.returncode == 0
    assert f"{len(PLACES)} would be written".encode() in done.stderr
    assert methods(s3.proxy)["PUT"] == 0


def test_a_file_and_a_folder_may_have_one_name(s3: Bucket, run: Run, picture: bytes) -> None:
    for key in ("in/a.png", "in/a.png/b.png", "in"):
        s3.put(key, picture)
    assert run(*AVG, f"{s3.url}/in/", f"{s3.url}/out/").returncode == 0
    assert set(below("out/", s3)) == {"a.png", "a.png/b.png"}


@pytest.mark.parametrize("name", ["a b%20c.png", "é#?&=+.png", "[x].png", "~'\"\\.png"])
def test_names_are_taken_as_they_are(s3: Bucket, run: Run, picture: bytes, name: str) -> None:
    s3.put(f"in/{name}", picture)
    assert run(*AVG, f"{s3.url}/in/", f"{s3.url}/out/").returncode == 0
    assert run(*AVG, f"{s3.url}/in/{name}", f"{s3.url}/again.png").returncode == 0
    assert set(below("out/", s3)) == {name}


def test_indices_are_written_beside_objects_and_read_again(
    s3: Bucket, run: Run, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    assert run("max", "-k", 2, "a.png", "small.png", "--indices", "i.npz").returncode == 0
    assert run("unpool", "small.png", "i.npz", "whole.png").returncode == 0
    small, indices, whole = f"{s3.url}/small.png", f"{s3.url}/i.npz", f"{s3.url}/whole.png"
    assert run("max", "-k", 2, "a.png", small, "--indices", indices).returncode == 0
    assert run("unpool", small, indices, whole).returncode == 0
    names = ("small.png", "i.npz", "whole.png")
    assert s3.objects() == {name: (tmp_path / name).read_bytes() for name in names}

    s3.client.delete_object(Bucket=s3.name, Key="i.npz")
    resumed = ("max", "-k", 2, "a.png", small, "--indices", indices, "--skip-existing")
    assert "exists without its indices" in message(run(*resumed))


def test_indices_are_deleted_if_their_picture_can_not_be_written(
    s3: Bucket, run: Run, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    words = ("max", "-k", 2, "-q", "a.png", f"{s3.url}/small.png", "--indices", f"{s3.url}/i.npz")
    s3.proxy.busy_key = "/small.png"
    failed = run(*words, first=IMPATIENT)
    assert "small.png: it can't be written: the server asks" in message(failed, 1)
    assert s3.objects() == {}
    s3.put("i.npz", b"old")
    failed = run(*words, "-f", first=IMPATIENT)
    assert "small.png: it can't be written: the server asks" in message(failed, 1)
    assert [*s3.objects()] == ["i.npz"]


# Servers


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
def test_a_server_that_ignores_conditions_is_told_of_once(
    s3: Bucket, run: Run, results: dict[str, bytes], honours: bool, flag: str
) -> None:
    s3.proxy.honours_conditions = honours
    done = run(*AVG, flag, f"{s3.url}/in/", f"{s3.url}/out/")
    assert done.returncode == 0
    is_told = not honours and flag != "--overwrite"
    assert done.stderr.count(b"warning: this storage ignores") == is_told
    assert below("out/", s3) == results


def test_a_busy_server_is_asked_again(s3: Bucket, run: Run, results: dict[str, bytes]) -> None:
    s3.proxy.busy = 3
    assert run(*AVG, f"{s3.url}/in/", f"{s3.url}/out/").returncode == 0
    assert below("out/", s3) == results


@pytest.mark.parametrize("after", [1, 2], ids=["for the plan", "for a picture"])
def test_a_server_that_stays_busy_is_given_up(
    s3: Bucket, run: Run, picture: bytes, after: int
) -> None:
    s3.put("in/a.png", picture)
    words = (*AVG, "-q", f"{s3.url}/in/", f"{s3.url}/out/")
    s3.proxy.busy_after, s3.proxy.busy = after, 10**6
    line = message(run(*words, first=IMPATIENT), after % 2 + 1)
    assert "the server asks for fewer requests, or is out of service (503)" in line


def test_a_web_server_is_read(s3: Bucket, run: Run, picture: bytes, tmp_path: Path) -> None:
    s3.client.put_object(Bucket=s3.name, Key="a b.png", Body=picture, ACL="public-read")
    url = f"{s3.proxy.url}/{s3.name}/a%20b.png"
    assert run(*AVG, url, "out.png").returncode == 0
    assert run(*AVG, url, "folder/").returncode == 0
    (tmp_path / "in.png").write_bytes(picture)
    run(*AVG, "in.png", "expected.png")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert [*os.listdir(tmp_path / "folder")] == ["a b.png"]


class Web(BaseHTTPRequestHandler):
    """A web server whose files are called by what it does."""

    picture = b""

    def do_HEAD(self) -> None:
        name = self.path.removeprefix("/").removesuffix(".png")
        codes = {"moved": 302, "circle": 302, "cut": 200, "whole": 200, "text": 200}
        code = int(name) if name.isdigit() else codes[name]
        is_picture = name in ("cut", "whole")
        body = self.picture if is_picture else f"<html>{LEAKED}</html>".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (
            ("Location", "/circle.png" if name == "circle" else "/whole.png"),
            ("WWW-Authenticate", f'Basic realm="{LEAKED}"'),
        ):
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if name == "cut" else body)

    do_GET = do_HEAD  # noqa: N815  # the name is `BaseHTTPRequestHandler`'s

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def web(picture: bytes) -> Iterator[str]:
    """The URL of a web server."""
    extra("obstore", "remote")
    Web.picture = picture
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("moved", ""),
        ("circle", "no answer that is understood"),
        ("cut", "no answer that is understood"),
        ("text", "it is no picture of a known format"),
        ("401", "the server asks for a password (401); check the URL, or download the picture"),
        ("403", "access is denied (403); check the URL"),
        ("404", "there is no such file (404); check the URL"),
        ("410", "the server refuses the request (410); check the URL"),
    ],
)
def test_what_a_web_server_answers_is_told(
    web: str, run: Run, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "in.png").write_bytes(Web.picture)
    done = run(*AVG, "-q", f"{web}/{name}.png", "out.png", environment={"NO_PROXY": "127.0.0.1"})
    if not reason:
        assert done.returncode == 0
        run(*AVG, "in.png", "expected.png")
        assert (tmp_path / "out.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
        return
    line = done.stderr.decode()
    assert done.returncode in (1, 2)
    assert (line.count("\n"), reason in line, LEAKED in line) == (1, True, False)
    assert os.listdir(tmp_path) == ["in.png"]


def test_a_bucket_of_google_is_read(s3: Bucket, run: Run, picture: bytes, tmp_path: Path) -> None:
    # Its protocol for reading is that of S3, but for the signatures.
    s3.client.put_bucket_acl(Bucket=s3.name, ACL="public-read")
    s3.client.put_object(Bucket=s3.name, Key="in/a.png", Body=picture, ACL="public-read")
    keys = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    account = {"gcs_base_url": s3.proxy.url, "disable_oauth": True} | keys
    (tmp_path / "account").write_text(json.dumps(account))
    where = {"GOOGLE_SERVICE_ACCOUNT": str(tmp_path / "account"), "GS_ENDPOINT": s3.proxy.url}
    assert run(*AVG, f"gs://{s3.name}/in/", "out/", environment=where).returncode == 0
    assert os.listdir(tmp_path / "out") == ["a.png"]


def test_a_profile_gives_credentials(
    s3: Bucket, run: Run, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("a.png", picture)
    lines = ("aws_access_key_id", "aws_secret_access_key")
    text = "".join(f"{one} = {value}\n" for one, value in zip(lines, SECRETS, strict=True))
    (tmp_path / "credentials").write_text(f"[tester]\n{text}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "tester")
    words = (*AVG, f"{s3.url}/a.png", f"{s3.url}/b.png")
    assert run(*words).returncode == 0
    line = message(run(*words, "-f", first="import sys; sys.modules['boto3'] = None"))
    assert "AWS_PROFILE needs boto3; install it" in line
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "AWS_PROFILE gives no credentials (ProfileNotFound)" in message(run(*words, "-f"))


PATIENT: Final = """
from poolcli.storage import objects
objects.CLIENT["read_timeout"] = "1h"
"""


def test_ctrl_c_ends_the_wait_for_a_silent_server(s3: Bucket, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        port = silent.getsockname()[1]
        variables = s3.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        words = (*AVG, f"{s3.url}/a.png", "out.png")
        with started(*words, cwd=tmp_path, first=PATIENT, variables=variables) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE) == 130


# Refusals


REFUSED: dict[str, tuple[Words, int, str]] = {
    "attributes": (("--preserve", "{s3}/in/", "out"), 2, "which objects don't have (1): "),
    "attributes of local files": (("--preserve", "in.png", "{s3}/b.png"), 2, "--preserve"),
    "a missing object": (("{s3}/none.png", "o.png"), 1, "there is no such object, or no such"),
    "a missing bucket": (("s3://none/in/", "out"), 1, "no such object, or no such bucket (404)"),
    "no bucket to write to": (("in.png", "s3://none/o.png"), 1, "o.png: it can't be written: "),
    "no bucket for a folder": (("in.png", "s3://none/out/"), 2, "s3://none/out/: it can't be "),
    "an odd key": (("{s3}/in/../a.png", "o.png"), 1, "its key has the segment ..; rename it"),
    "an odd output": (("in.png", "{s3}//o/"), 2, "its key has an empty segment; choose another"),
    "no name of a bucket": (("s3://", "out/"), 2, "s3:// names no bucket; add it"),
    "a password": ((f"s3://me:{LEAKED}@bucket/a.png", "o.png"), 2, "a URL holds a user or a"),
    "a password to write": (("in.png", f"gs://{LEAKED}@bucket/"), 2, "a URL holds a user or a"),
    "a password with a slash": ((f"s3://me:a/{LEAKED}@b/a.png", "o.png"), 2, "a URL holds a user"),
    "one for a host": ((f"https://me:a/{LEAKED}@h:9/a.png", "o.png"), 2, "download the picture"),
    "a signature": ((f"{{s3}}/a.png?X-Amz-Signature={LEAKED}", "o.png"), 2, "holds a signature"),
    "one to write": (("in.png", f"az://b/a.png?se=1&sig={LEAKED}"), 2, "holds a signature"),
    "a query": ((f"https://host/a.png?key={LEAKED}", "o.png"), 2, "a query or a fragment"),
    "a web server as output": (("in.png", "https://127.0.0.1:9/"), 2, "web servers are only read"),
    "another host": (("file://host/a.png", "o.png"), 2, "is a file on the host host; write"),
    "no account": (("az://container/a.png", "o.png"), 2, "az://container can't be opened"),
}
REFUSED |= {
    f"{name}, no endpoint": (words, code, "no answer that is understood (GenericError)")
    for name, words, code in (
        ("a folder", ("{s3}/in/", "out"), 1),
        ("an object", ("{s3}/in/a.png", "out.png"), 2),
        ("an output", ("in.png", "{s3}/out/"), 2),
    )
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_without_secrets(
    s3: Bucket, run: Run, picture: bytes, tmp_path: Path, case: str
) -> None:
    words, code, reason = REFUSED[case]
    s3.put("in/a.png", picture)
    (tmp_path / "in.png").write_bytes(picture)
    dead = {"AWS_ENDPOINT_URL": DEAD} if "no endpoint" in case else {}
    words = tuple(str(one).format(s3=s3.url) for one in words)
    done = run(*AVG, "-q", *words, environment=dead, first=IMPATIENT)
    assert reason in message(done, code)
    assert set(s3.objects()) == {"in/a.png"}
    assert os.listdir(tmp_path) == ["in.png"]

    told = [done, run(*AVG, "-v", "-v", "--json", *words, environment=dead, first=IMPATIENT)]
    printed = b"".join(one.stdout + one.stderr for one in told).decode()
    for secret in (*SECRETS, LEAKED, s3.proxy.url, "127.0.0.1:9 ", "Debug source", "obstore."):
        assert secret not in printed


def test_a_listing_with_an_odd_key_is_refused_in_words(
    s3: Bucket, run: Run, picture: bytes
) -> None:
    s3.put("in/a.png", picture)
    s3.put("in/b//c.png", picture)
    line = message(run(*AVG, "-q", f"{s3.url}/in/", "out"), 1)
    assert "has an empty segment, . or .., so that none can be listed" in line


@pytest.mark.parametrize("words", [("s3://b/in/", "out/"), ("in.png", "gs://b/o.png")])
def test_without_the_extra_it_is_named(
    run: Run, picture: bytes, tmp_path: Path, words: Words
) -> None:
    (tmp_path / "in.png").write_bytes(picture)
    line = message(run(*AVG, *words, first=WITHOUT_OBSTORE))
    assert line.endswith(":// needs obstore; install it: pip install obstore (the extra [remote])")
    assert run(*AVG, "in.png", "o.png", first=WITHOUT_OBSTORE).returncode == 0


def test_urls_of_local_files_need_no_extra(run: Run, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(picture)
    url = (tmp_path / "a b.png").as_uri()
    words = (*AVG, "--preserve", url, f"file://localhost{tmp_path}/out/")
    assert run(*words, first=WITHOUT_OBSTORE).returncode == 0
    assert os.listdir(tmp_path / "out") == ["a b.png"]


# Places


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Place:
    """A prefix in memory, with more objects than a page of a listing."""
    place = object_in_memory(monkeypatch).target
    store: Any = objects.store_of("memory", "bucket")
    for number in range(objects.PAGE + 500):
        store.put(f"root/{number % 7}/{number}.png", b"")
    return place._replace(path="memory://bucket/root")


def test_a_listing_tells_its_progress_and_serves_the_whole_tree(
    root: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    found = []
    for name, status in root.walk(deep=True, progress=counts.append):
        assert status is not None
        assert status.kind == "folder"
        monkeypatch.setattr(objects, "request", None)  # nothing more is asked for
        folder = root._replace(path=f"{root.path}/{name}")
        found += [f"{name}/{inside}" for inside, _ in folder.walk(deep=True)]
    assert counts == [objects.PAGE, objects.PAGE + 500]
    assert len({*found}) == counts[-1]
    monkeypatch.undo()


def test_the_existing_outputs_of_a_prefix_are_listed_once(root: Place) -> None:
    counts: list[int] = []
    existing = root.lookup(counts.append)
    assert counts[-1] == objects.PAGE + 500
    inside, beside = (Remote(f"memory://bucket/{key}.png") for key in ("root/3/3", "root/3/4"))
    assert existing(inside) == inside.status()
    assert (existing(beside).kind, existing(inside).kind) == ("missing", "file")


@pytest.mark.parametrize("url", ["S3://bucket/a", "s3://bucket", "s3://bucket/a/", "az://c/a.png"])
def test_a_place_is_known_by_its_scheme(url: str) -> None:
    place = place_of(url)
    assert isinstance(place, Remote)
    assert (place.path, place.absolute()) == (url, url)
    assert not place.is_stream


@pytest.mark.parametrize("url", ["s3://", "s3:///key", "https://"])
def test_a_url_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(PoolError, match="names no"):
        place_of(url)


def test_remote_jobs_get_more_workers_since_these_wait() -> None:
    local = [job(Path("in.png"), Path("out.png"))._replace(bytes=0)] * 9
    remote = [one._replace(source=place_of("s3://b/in.png")) for one in local]
    assert choose(local) == Serial()
    assert choose(remote) == Processes(WORKERS_A_CPU * usable_cpus())
    assert choose(remote, count=3) == Processes(3)


def test_a_listing_is_counted_on_a_terminal_only(terminal: Terminal, s3: Bucket) -> None:
    for number in range(3):
        s3.put(f"in/{number}.txt", b"")
    variables = s3.environment
    words = (*AVG, f"{s3.url}/in/", "out/")
    with started(*words, cwd=Path.cwd(), variables=variables, stderr=terminal.theirs) as process:
        assert process.wait(PATIENCE) == 3
    assert "listing: 3 files" in terminal.all()
