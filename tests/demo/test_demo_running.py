"""A whole demo: starts, serves, restarts what dies, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import socket
import sys
import time

import aiohttp
import asyncpg
import psutil
import pytest
import pytest_asyncio
from demo_traffic import Load, errors, traffic

from chaosrunner.demo import serve
from chaosrunner.demo.options import DemoOptions, DemoUnavailable, Ports, free_base_port
from chaosrunner.demo.postgres import launch_postgres
from chaosrunner.demo.running import running_demo
from chaosrunner.demo.schema import SCHEMA

pytestmark = pytest.mark.postgres


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo():
    async with running_demo(DemoOptions(base_port=free_base_port())) as demo:
        yield demo


@pytest_asyncio.fixture(loop_scope="module")
async def client(demo):
    async with aiohttp.ClientSession(demo.entry) as client:
        yield client


async def log_in(client, number=1):
    async with client.post("/login", json={"user": f"user{number:02d}", "password": f"pass{number:02d}"}) as response:
        assert response.status == 200
        return (await response.json())["token"]


async def ask(client, method, path, body=None, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.request(method, path, json=body, headers=headers) as response:
        return response.status, await response.json() if response.content_type == "application/json" else None


async def until(condition, *, within_s=20.0):
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(0.05)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_agent_lives_and_dies(client):
    """An agent is created, listed, read, renamed and deleted through the gateway, and then it is gone."""
    token = await log_in(client)
    status, agent = await ask(client, "POST", "/agents", {"name": "probe"}, token)
    assert (status, agent["name"]) == (201, "probe")
    path = f"/agents/{agent['id']}"
    assert await ask(client, "GET", path, token=token) == (200, agent)
    renamed = agent | {"name": "renamed"}
    assert await ask(client, "PATCH", path, {"name": "renamed"}, token) == (200, renamed)
    assert renamed in (await ask(client, "GET", "/agents", token=token))[1]["agents"]
    assert (await ask(client, "DELETE", path, token=token))[0] == 204
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert (await ask(client, method, path, body, token))[0] == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_sees_or_changes_the_agents_of_another(client):
    """To another user an agent does not exist."""
    owner, other = await log_in(client, 1), await log_in(client, 2)
    _, agent = await ask(client, "POST", "/agents", {"name": "mine"}, owner)
    path = f"/agents/{agent['id']}"
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert (await ask(client, method, path, body, other))[0] == 404
    assert (await ask(client, "GET", path, token=owner))[1] == agent


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/login", {"user": "user01", "password": "pass02"}, 401),
        ("POST", "/login", {"user": "nobody", "password": "x"}, 401),
        ("POST", "/login", {"user": "user01"}, 400),
        ("POST", "/login", ["user01"], 400),
        ("GET", "/agents", None, 401),
        ("POST", "/prompts", {"text": "x"}, 401),
        ("GET", "/ws?token=forged", None, 401),
        ("GET", "/health", None, 200),
        ("GET", "/health/live", None, 200),
        ("GET", "/health/ready", None, 200),
    ],
)
async def test_what_is_answered_without_a_token(client, method, path, body, status):
    """Health is open to all, everything else wants the right password or a token."""
    assert (await ask(client, method, path, body))[0] == status


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/agents", {"name": ""}, 400),
        ("POST", "/agents", {"name": 1}, 400),
        ("POST", "/agents", {"name": "nul\x00"}, 400),
        ("POST", "/agents", None, 400),
        ("GET", "/agents/999999999999999999", None, 404),
        ("GET", "/agents/9999999999999999999", None, 404),
        ("GET", "/agents/x", None, 404),
        ("PUT", "/agents", None, 405),
        ("GET", "/nowhere", None, 404),
    ],
)
async def test_what_is_wrong_is_told_and_breaks_nothing(client, method, path, body, status):
    """A wrong request gets its 4xx and never a 500, and the database stays trusted."""
    token = await log_in(client)
    assert (await ask(client, method, path, body, token))[0] == status
    assert (await ask(client, "GET", "/agents", token=token))[0] == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_the_model_answers_a_prompt(client):
    """A prompt is answered by the model and not by the fallback."""
    status, answer = await ask(client, "POST", "/prompts", {"text": "hello"}, await log_in(client))
    assert (status, answer) == (200, {"answer": "(plain) You said: hello", "fallback": False})


@pytest.mark.asyncio(loop_scope="module")
async def test_a_websocket_echoes_by_id_and_broadcasts(client):
    """A message with an id comes back alone, a broadcast reaches every client of the replica, nonsense is told."""
    token = await log_in(client)  # one user, so both go to the same replica
    async with client.ws_connect(f"/ws?token={token}") as ann, client.ws_connect(f"/ws?token={token}") as bob:
        await ann.send_json({"id": 7, "more": [1, 2]})
        assert await ann.receive_json(timeout=5) == {"id": 7, "more": [1, 2]}
        await ann.send_json({"broadcast": "hello all"})
        for socket_ in (ann, bob):
            assert await socket_.receive_json(timeout=5) == {"broadcast": "hello all"}
        await bob.send_str("not json")
        assert "error" in await bob.receive_json(timeout=5)


@pytest.mark.asyncio(loop_scope="module")
async def test_metrics_and_pool_say_what_happened(client):
    """Metrics count requests by route, not by path, and the pool's figures are in both places."""
    token = await log_in(client)
    await ask(client, "GET", "/agents/1", token=token)
    async with client.get("/metrics", headers={"Authorization": f"Bearer {token}"}) as response:
        lines = (await response.text()).splitlines()
    assert any(line.startswith('demo_requests_total{method="GET",route="/agents/{id}",') for line in lines)
    assert "demo_breaker_closed 1" in lines
    _, pool = await ask(client, "GET", "/pool")
    assert set(pool) == {"size", "idle", "waiting", "acquire_timeouts", "breaker"}
    assert pool["size"] >= pool["idle"] > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_all_traffic_passes_the_fault_proxy(demo, client):
    """With the way to the database closed, reads are served as last seen and say so, and writes are turned away."""
    token = await log_in(client)
    _, agent = await ask(client, "POST", "/agents", {"name": "kept"}, token)
    async with aiohttp.ClientSession(demo.fault_proxy) as proxy:
        try:
            (await proxy.patch("/proxies/database", json={"enabled": False})).raise_for_status()
            headers = {"Authorization": f"Bearer {token}"}
            async with client.get(f"/agents/{agent['id']}", headers=headers) as response:
                assert (response.status, response.headers["Warning"][:3]) == (200, "110")
                assert await response.json() == agent
            async with client.post("/agents", json={"name": "x"}, headers=headers) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert (await ask(client, "GET", "/health/ready"))[0] == 503
            assert (await ask(client, "GET", "/health"))[0] == 200
        finally:
            (await proxy.patch("/proxies/database", json={"enabled": True})).raise_for_status()
    await until_ready(client)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("part", ["api-2", "model", "gateway", "postgres"])
async def test_a_part_that_is_killed_comes_back(demo, client, part):
    """After SIGKILL the supervisor starts the part again, and all is well by itself."""
    before = demo.pid_of(part)
    os.kill(before, signal.SIGKILL)
    await until(lambda: demo.pid_of(part) not in (None, before))
    await until_ready(client)
    assert (await ask(client, "POST", "/agents", {"name": "x"}, await log_in(client)))[0] == 201


@pytest.mark.asyncio(loop_scope="module")
async def test_replicas_are_replaced_one_by_one_without_a_failed_request(demo, client):
    """A rolling restart by SIGTERM under load fails no request, because each replica finishes what it began."""
    async with traffic(demo.entry, Load(journeys_per_s=15)) as seen:
        for part in ("api-1", "api-2", "api-3"):
            before = demo.pid_of(part)
            os.kill(before, signal.SIGTERM)
            await until(lambda part=part, before=before: demo.pid_of(part) not in (None, before))
            await until_ready(client)
    assert len(seen.hits) > 100
    assert errors(seen.hits) == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_websocket_of_a_lost_replica_is_told_to_come_back(demo, client):
    """When the replica behind a WebSocket dies, the client is closed with 1012 and a new one works."""
    token = await log_in(client)
    async with client.ws_connect(f"/ws?token={token}") as ann:
        [part] = [f"api-{n}" for n in (1, 2, 3) if await has_sockets(client, demo.ports.replica(n))]
        os.kill(demo.pid_of(part), signal.SIGKILL)
        assert (await ann.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        assert ann.close_code == aiohttp.WSCloseCode.SERVICE_RESTART
    async with client.ws_connect(f"/ws?token={token}") as ann:
        await ann.send_json({"id": 1})
        assert await ann.receive_json(timeout=5) == {"id": 1}
    await until_ready(client)


async def has_sockets(client, port):
    async with client.get(f"http://127.0.0.1:{port}/metrics") as response:
        return "demo_sockets 0" not in (await response.text()).splitlines()


async def until_ready(client, within_s=20.0):
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            if (await ask(client, "GET", "/gateway/ready"))[0] == 200:
                return
        except aiohttp.ClientError:
            pass  # the gateway itself may be the one that is coming back
        assert time.monotonic() < deadline_s, "never ready again"
        await asyncio.sleep(0.1)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_system_file_tells_where_everything_is(demo):
    """Every port in the system file is one that the part it names listens on."""
    text = demo.system_file.read_text()
    assert f"entry: {demo.entry}\n" in text
    for number in (1, 2, 3):
        listening = {c.laddr.port for c in psutil.Process(demo.pid_of(f"api-{number}")).net_connections("tcp")}
        assert demo.ports.replica(number) in listening
        assert str(demo.ports.replica(number)) in text
    assert demo.users_file.read_text().startswith("user,password\nuser01,pass01\n")


async def test_after_the_block_no_process_and_no_file_is_left():
    """When the demo ends, all its processes have ended, its ports are free and its directory is gone."""
    async with running_demo(DemoOptions(base_port=free_base_port(), fragile=True)) as demo:
        family = psutil.Process(demo.supervisor_pid).children(recursive=True)
        assert len(family) >= 7
    assert not any(process.is_running() for process in family)
    for _, port in demo.ports.all():
        socket.create_server(("127.0.0.1", port)).close()
    assert not is_there(demo.directory)


async def test_nothing_survives_a_supervisor_that_is_killed():
    """SIGKILL of the supervisor ends every part, a paused one included."""
    async with running_demo(DemoOptions(base_port=free_base_port())) as demo:
        family = psutil.Process(demo.supervisor_pid).children(recursive=True)
        os.kill(demo.pid_of("api-1"), signal.SIGSTOP)
        os.kill(demo.supervisor_pid, signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=10)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_it_even_while_it_starts(number, tmp_path):
    """A signal at any moment of the start ends everything with exit code 0."""
    process = await started_by_hand(tmp_path)
    await until((tmp_path / "processes.json").exists)
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 15) == 0
    pids = json.loads((tmp_path / "processes.json").read_text())
    assert set(pids.values()) == {None}


async def test_the_end_of_standard_input_stops_it(tmp_path):
    """With `--until-eof` the demo says ready and ends when its standard input does."""
    written = tmp_path / "elsewhere" / "demo.yaml"
    arguments = ("--until-eof", "--system-out", str(written))
    process = await started_by_hand(tmp_path, *arguments, stdin=asyncio.subprocess.PIPE)
    ready = await asyncio.wait_for(process.stdout.readline(), 30)
    assert ready.startswith(b"ready http://127.0.0.1:")
    assert f"entry: {ready.split()[1].decode()}\n" in written.read_text()
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 15) == 0


def is_there(path):
    return path.exists()


async def started_by_hand(directory, *arguments, **more):
    base = str(free_base_port())
    command = [sys.executable, "-m", "chaosrunner.demo", "--base-port", base, "--dir", str(directory), *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, **more)


def test_a_taken_port_is_one_line_and_exit_code_2(capsys, tmp_path):
    """A port that is taken ends it before anything was started."""
    base = free_base_port()
    with socket.create_server(("127.0.0.1", Ports(base).fault_proxy)):
        assert serve(["--base-port", str(base), "--dir", str(tmp_path)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert str(base + 30) in complaint
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_postgres_is_told_to_who_started_it(tmp_path):
    """`running_demo` raises what its supervisor said, and nothing is left running."""
    options = DemoOptions(base_port=free_base_port(), pg_bin=tmp_path)
    with pytest.raises(DemoUnavailable, match="no initdb and postgres in"):
        async with running_demo(options):
            pass
    for _, port in Ports(options.base_port).all():
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    "dsn", ["postgresql://ann:s3cret@127.0.0.1:{free}/x", "host=localhost", "postgresql://h:port/x"]
)
async def test_a_database_that_cannot_be_used_is_told_without_its_password(dsn):
    """A DSN that leads nowhere, or is none, is one line and nothing is left running."""
    base = free_base_port()
    options = DemoOptions(base_port=base, dsn=dsn.format(free=base + 25))
    with pytest.raises(DemoUnavailable, match=r"given (database|DSN)") as refusal:
        async with running_demo(options):
            pass
    assert "\n" not in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


async def test_a_given_database_is_used_in_a_schema_of_its_own():
    """With a DSN the demo works there, in its own schema, and leaves nothing behind."""
    async with launch_postgres() as server:
        admin = await asyncpg.connect(server.admin_dsn)
        schemas = "SELECT array_agg(nspname::text) FROM pg_namespace WHERE nspname !~ '^pg_'"
        before = await admin.fetchval(schemas)
        async with running_demo(DemoOptions(base_port=free_base_port(), dsn=server.dsn)) as demo:
            assert set(await admin.fetchval(schemas)) == {*before, SCHEMA}
            async with aiohttp.ClientSession(demo.entry) as client:
                token = await log_in(client)
                assert (await ask(client, "POST", "/agents", {"name": "x"}, token))[0] == 201
            assert f"dsn: {server.dsn}\n" in demo.system_file.read_text()
        assert set(await admin.fetchval(schemas)) == set(before)
        await admin.close()
