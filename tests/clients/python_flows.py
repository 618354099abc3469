"""What applications do with a Python Consul client, against any server that speaks Consul's HTTP API.

    python python_flows.py HOST PORT [FLOW...]

Works with python-consul and py-consul, whichever is installed, and with a real Consul agent as the server. Prints one
line per flow that fails and a last line with the counts; the exit status is 1 if any failed.
"""

import base64
import contextlib
import hashlib
import http.server
import io
import json
import socket
import sys
import tarfile
import threading
import time
import traceback
import uuid
from importlib import metadata

import consul

PATIENCE = 60.0


def client_name():
    for name in ("py-consul", "python-consul"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    raise SystemExit("no Consul client is installed")


def until(what, probe):
    """Waits until probe() returns something true, and returns it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not come to pass within {PATIENCE:.0f} s: {what}")


def refused(status, call):
    """Checks that a call is refused with an HTTP status; returns what the server said."""
    try:
        answer = call()
    except Exception as error:  # the clients have many exception types, all with the status in their text
        text = f"{type(error).__name__} {error}"
        named = {404: "NotFound", 400: "BadRequest"}.get(status, "no such name")
        assert str(status) in text or named in text, f"expected {status}, got {text}"
        return text
    missing = answer in (False, None) or (isinstance(answer, tuple) and answer[1] is None)
    assert status == 404 and missing, f"expected a refusal with {status}, got {answer!r}"
    return ""


@contextlib.contextmanager
def web_server():
    """A web server whose status can be changed, as a target of http checks."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"fine" if self.server.answer == 200 else b"not fine"
            self.send_response(self.server.answer)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.server.seen.append((self.path, self.headers.get("X-Probe")))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = 200
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Flows:
    """Each method is one flow; each has a fresh service name and leaves nothing behind."""

    def __init__(self, host, port):
        self.c = consul.Consul(host=host, port=port)
        self.node = self.c.agent.self()["Config"]["NodeName"]

    def fresh(self, what):
        return f"{what}-{uuid.uuid4().hex[:8]}"

    @contextlib.contextmanager
    def service(self, name, service_id=None, **more):
        service_id = service_id or name
        assert self.c.agent.service.register(name, service_id=service_id, **more) is True
        try:
            yield service_id
        finally:
            self.c.agent.service.deregister(service_id)

    def health(self, name, **more):
        return self.c.health.service(name, **more)[1]

    def own_check(self, entry, check_id):
        return next(check for check in entry["Checks"] if check["CheckID"] == check_id)

    # the agent

    def agent_self(self):
        own = self.c.agent.self()
        assert own["Config"]["Datacenter"] and own["Config"]["Version"], own
        assert own["Member"]["Name"] == self.node

    def agent_members(self):
        members = self.c.agent.members()
        assert any(member["Name"] == self.node and member["Status"] == 1 for member in members), members

    def status(self):
        leader = self.c.status.leader()
        assert ":" in leader and leader in self.c.status.peers()

    def register_and_list(self):
        name = self.fresh("web")
        with self.service(name, service_id=f"{name}-1", address="127.0.0.2", port=8080, tags=["a", "b"]):
            service = self.c.agent.services()[f"{name}-1"]
            assert (service["Service"], service["Address"], service["Port"]) == (name, "127.0.0.2", 8080), service
            assert service["Tags"] == ["a", "b"] and service["Weights"]["Passing"] == 1, service
            (entry,) = self.c.catalog.service(name)[1]
            assert entry["ServiceID"] == f"{name}-1" and entry["ServicePort"] == 8080, entry
            assert entry["Node"] == self.node and entry["ServiceAddress"] == "127.0.0.2", entry
            assert sorted(self.c.catalog.services()[1][name]) == ["a", "b"]
        assert f"{name}-1" not in self.c.agent.services()
        assert self.c.catalog.service(name)[1] == []
        assert name not in self.c.catalog.services()[1]

    def register_again_changes(self):
        name = self.fresh("web")
        with self.service(name, port=1, tags=["old"]):
            self.c.agent.service.register(name, service_id=name, port=2, tags=["new"])
            (entry,) = self.health(name)
            assert entry["Service"]["Port"] == 2 and entry["Service"]["Tags"] == ["new"], entry

    def default_id_is_the_name(self):
        name = self.fresh("web")
        with self.service(name, port=80):
            assert self.c.agent.services()[name]["ID"] == name

    def deregister_unknown(self):
        refused(404, lambda: self.c.agent.service.deregister(self.fresh("nobody")))

    # checks

    def ttl_check(self):
        name = self.fresh("ttl")
        with self.service(name, port=80, check=consul.Check.ttl("30s")):
            check_id = f"service:{name}"
            assert self.health(name, passing=True) == []
            assert self.own_check(self.health(name)[0], check_id)["Status"] == "critical"
            assert self.c.agent.check.ttl_pass(check_id, "all is well")
            (entry,) = self.health(name, passing=True)
            check = self.own_check(entry, check_id)
            assert (check["Status"], check["Output"], check["Type"]) == ("passing", "all is well", "ttl"), check
            assert self.c.agent.check.ttl_warn(check_id)
            assert self.health(name, passing=True) == []
            assert self.own_check(self.health(name)[0], check_id)["Status"] == "warning"
            assert self.c.agent.check.ttl_fail(check_id, "broken")
            assert self.c.agent.checks()[check_id]["Output"] == "broken"
        assert check_id not in self.c.agent.checks()

    def ttl_check_expires(self):
        name = self.fresh("ttl")
        with self.service(name, port=80, check=consul.Check.ttl("500ms")):
            check_id = f"service:{name}"
            until("it passes", lambda: self.c.agent.check.ttl_pass(check_id) and self.health(name, passing=True))
            until("the check expires", lambda: self.health(name, passing=True) == [])

    def http_check(self):
        name = self.fresh("http")
        with web_server() as web:
            url = f"http://127.0.0.1:{web.server_port}/health?x=1"
            check = consul.Check.http(url, "200ms", timeout="2s", header={"X-Probe": ["yes"]})
            with self.service(name, port=web.server_port, check=check):
                until("the check passes", lambda: self.health(name, passing=True))
                check = self.c.agent.checks()[f"service:{name}"]
                assert "200" in check["Output"] and "fine" in check["Output"], check
                assert check["Type"] == "http", check
                assert ("/health?x=1", "yes") in web.seen, web.seen
                web.answer = 500
                until("the check fails", lambda: self.health(name, passing=True) == [])
                web.answer = 429
                until(
                    "the check warns",
                    lambda: self.c.agent.checks()[f"service:{name}"]["Status"] == "warning",
                )
                web.answer = 200
                until("the check passes again", lambda: self.health(name, passing=True))

    def tcp_check(self):
        name = self.fresh("tcp")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with self.service(name, port=port, check=consul.Check.tcp("127.0.0.1", port, "200ms", timeout="2s")):
                until("the check passes", lambda: self.health(name, passing=True))
                listener.close()
                until("the check fails", lambda: self.health(name, passing=True) == [])

    def check_on_its_own(self):
        name = self.fresh("web")
        check_id = self.fresh("disk")
        with self.service(name, port=80):
            assert self.c.agent.check.register(
                "Disk", check=consul.Check.ttl("30s"), check_id=check_id, notes="how full", service_id=name
            )
            check = self.c.agent.checks()[check_id]
            assert (check["ServiceID"], check["Name"], check["Notes"]) == (name, "Disk", "how full"), check
            assert self.health(name, passing=True) == []
            self.c.agent.check.ttl_pass(check_id)
            assert len(self.health(name, passing=True)) == 1
            assert [check["CheckID"] for check in self.c.health.checks(name)[1]] == [check_id]
            assert self.c.agent.check.deregister(check_id)
            assert check_id not in self.c.agent.checks()

    def node_check(self):
        check_id = self.fresh("node-check")
        name = self.fresh("web")
        with self.service(name, port=80):
            self.c.agent.check.register("Node check", check=consul.Check.ttl("30s"), check_id=check_id)
            try:
                assert self.health(name, passing=True) == [], "a critical node takes its services with it"
                self.c.agent.check.ttl_pass(check_id)
                assert len(self.health(name, passing=True)) == 1
                assert check_id in [check["CheckID"] for check in self.c.health.node(self.node)[1]]
            finally:
                self.c.agent.check.deregister(check_id)

    def unknown_check(self):
        refused(404, lambda: self.c.agent.check.ttl_pass(self.fresh("nobody")))
        refused(404, lambda: self.c.agent.check.deregister(self.fresh("nobody")))

    def script_check_is_refused(self):
        name = self.fresh("script")
        check = {"args": ["true"], "interval": "10s"}
        text = refused(400, lambda: self.c.agent.service.register(name, check=check))
        assert "not enabled" in text, text
        assert name not in self.c.agent.services(), "nothing may be half registered"

    def states(self):
        name = self.fresh("web")
        with self.service(name, port=80, check=consul.Check.ttl("30s")):
            check_id = f"service:{name}"

            def of(state):
                return [check["CheckID"] for check in self.c.health.state(state)[1]]

            assert check_id in of("critical") and check_id in of("any") and check_id not in of("passing")
            self.c.agent.check.ttl_pass(check_id)
            assert check_id in of("passing") and check_id not in of("critical")

    # maintenance

    def service_maintenance(self):
        name = self.fresh("web")
        with self.service(name, port=80):
            assert self.c.agent.service.maintenance(name, "true", "being rebuilt")
            assert self.health(name, passing=True) == []
            check = self.own_check(self.health(name)[0], f"_service_maintenance:{name}")
            assert (check["Status"], check["Notes"]) == ("critical", "being rebuilt"), check
            assert self.c.agent.service.maintenance(name, "false")
            assert len(self.health(name, passing=True)) == 1

    def node_maintenance(self):
        name = self.fresh("web")
        with self.service(name, port=80):
            assert self.c.agent.maintenance("true", "new disk")
            try:
                assert "_node_maintenance" in self.c.agent.checks()
                assert self.health(name, passing=True) == []
            finally:
                assert self.c.agent.maintenance("false")
            assert "_node_maintenance" not in self.c.agent.checks()
            assert len(self.health(name, passing=True)) == 1

    # discovery

    def tags_select(self):
        name = self.fresh("web")
        with self.service(name, service_id=f"{name}-1", port=1, tags=["v1"]):
            with self.service(name, service_id=f"{name}-2", port=2, tags=["v2"]):
                ports = [entry["Service"]["Port"] for entry in self.health(name, tag="v2")]
                assert ports == [2], ports
                assert [entry["ServicePort"] for entry in self.c.catalog.service(name, tag="v1")[1]] == [1]

    def near_and_consistency(self):
        name = self.fresh("web")
        with self.service(name, port=80):
            assert len(self.health(name, near="_agent")) == 1
            old = self.c.consistency
            try:
                for consistency in ("stale", "consistent", "default"):
                    self.c.consistency = consistency
                    assert len(self.health(name)) == 1
            finally:
                self.c.consistency = old

    def unknown_service_is_empty(self):
        index, entries = self.c.health.service(self.fresh("nobody"))
        assert entries == [] and int(index) > 0

    def datacenters(self):
        datacenter = self.c.agent.self()["Config"]["Datacenter"]
        assert self.c.catalog.datacenters() == [datacenter]
        refused(500, lambda: self.c.catalog.nodes(dc="nowhere"))
        assert self.c.catalog.nodes(dc=datacenter)[1]

    def nodes(self):
        (node,) = [node for node in self.c.catalog.nodes()[1] if node["Node"] == self.node]
        assert node["Address"], node
        name = self.fresh("web")
        with self.service(name, port=80):
            view = self.c.catalog.node(self.node)[1]
            assert view["Node"]["Node"] == self.node and view["Services"][name]["Port"] == 80, view
        assert self.c.catalog.node(self.fresh("nobody"))[1] is None

    # blocking queries

    def blocking_query_is_woken(self):
        name = self.fresh("web")
        index = self.c.health.service(name)[0]
        seen = []

        def watch():
            watcher = consul.Consul(host=self.c.http.host, port=self.c.http.port)
            began = time.monotonic()
            found, entries = watcher.health.service(name, index=index, wait="90s", passing=True)
            seen.append((int(found), entries, time.monotonic() - began))

        thread = threading.Thread(target=watch)
        thread.start()
        other = self.fresh("unrelated")
        with self.service(other, port=1):
            thread.join(0.5)
            assert thread.is_alive(), f"an unrelated change must not wake the watch: {seen}"
            with self.service(name, port=80):
                thread.join(PATIENCE)
        assert not thread.is_alive(), "the watch was not woken"
        ((found, entries, took),) = seen
        assert found > int(index) and len(entries) == 1 and took < PATIENCE, seen

    def blocking_query_ends(self):
        name = self.fresh("web")
        index = self.c.health.service(name)[0]
        began = time.monotonic()
        again, entries = self.c.health.service(name, index=index, wait="200ms")
        took = time.monotonic() - began
        assert again == index and entries == [] and 0.15 < took < PATIENCE, (again, index, took)

    def blocking_query_sees_the_deregistration(self):
        name = self.fresh("web")
        with self.service(name, port=80):
            index = self.c.health.service(name)[0]
        after, entries = self.c.health.service(name, index=index, wait="10s")
        assert int(after) > int(index) and entries == []

    # the catalog as others write it

    def catalog_register(self):
        node, name = self.fresh("host"), self.fresh("db")
        assert self.c.catalog.register(
            node,
            "127.0.0.9",
            service={"Service": name, "ID": f"{name}-1", "Port": 5432, "Tags": ["primary"]},
            check={
                "Node": node,
                "CheckID": f"{name}-alive",
                "Name": "alive",
                "Status": "passing",
                "ServiceID": f"{name}-1",
            },
        )
        (entry,) = self.health(name, passing=True)
        assert entry["Node"]["Address"] == "127.0.0.9" and entry["Service"]["Port"] == 5432, entry
        assert [check["CheckID"] for check in entry["Checks"]] == [f"{name}-alive"], entry
        assert self.c.catalog.deregister(node, service_id=f"{name}-1")
        assert self.health(name) == []
        assert node in [one["Node"] for one in self.c.catalog.nodes()[1]]
        assert self.c.catalog.deregister(node)
        assert node not in [one["Node"] for one in self.c.catalog.nodes()[1]]

    # key and value

    def kv_put_get_delete(self):
        key = self.fresh("kv")
        index, entry = self.c.kv.get(key)
        assert entry is None and int(index) > 0
        assert self.c.kv.put(key, "value", flags=42) is True
        entry = self.c.kv.get(key)[1]
        assert (entry["Key"], entry["Value"], entry["Flags"]) == (key, b"value", 42), entry
        assert entry["LockIndex"] == 0 and entry["CreateIndex"] == entry["ModifyIndex"] > 0, entry
        assert self.c.kv.delete(key) is True
        assert self.c.kv.get(key)[1] is None

    def kv_bytes_and_odd_keys(self):
        for key, value in (
            (self.fresh("kv") + "/a b/ä%2F", b"\x00\xff\n"),
            (self.fresh("kv") + "/../x", b"x" * 100_000),
        ):
            assert self.c.kv.put(key, value)
            try:
                assert self.c.kv.get(key)[1]["Value"] == value
            finally:
                self.c.kv.delete(key)

    def kv_empty_value(self):
        key = self.fresh("kv")
        assert self.c.kv.put(key, "")
        assert self.c.kv.get(key)[1]["Value"] in (None, b"")
        self.c.kv.delete(key)

    def kv_too_large(self):
        key = self.fresh("kv")
        refused(413, lambda: self.c.kv.put(key, b"x" * (512 * 1024 + 1)))
        assert self.c.kv.put(key, b"x" * (512 * 1024))
        self.c.kv.delete(key)

    def kv_cas(self):
        key = self.fresh("kv")
        assert self.c.kv.put(key, "1", cas=0) is True
        assert self.c.kv.put(key, "2", cas=0) is False
        index = self.c.kv.get(key)[1]["ModifyIndex"]
        assert self.c.kv.put(key, "3", cas=index + 1) is False
        assert self.c.kv.put(key, "3", cas=index) is True
        assert self.c.kv.get(key)[1]["Value"] == b"3"
        assert self.c.kv.delete(key, cas=index) is False
        assert self.c.kv.delete(key, cas=self.c.kv.get(key)[1]["ModifyIndex"]) is True
        assert self.c.kv.get(key)[1] is None

    def kv_tree(self):
        root = self.fresh("kv")
        for key in ("a", "b/c", "b/d", "e"):
            self.c.kv.put(f"{root}/{key}", key)
        entries = self.c.kv.get(f"{root}/", recurse=True)[1]
        assert [entry["Value"] for entry in entries] == [b"a", b"b/c", b"b/d", b"e"], entries
        keys = self.c.kv.get(f"{root}/", keys=True)[1]
        assert keys == [f"{root}/a", f"{root}/b/c", f"{root}/b/d", f"{root}/e"], keys
        keys = self.c.kv.get(f"{root}/", keys=True, separator="/")[1]
        assert keys == [f"{root}/a", f"{root}/b/", f"{root}/e"], keys
        assert self.c.kv.delete(f"{root}/", recurse=True)
        assert self.c.kv.get(f"{root}/", recurse=True)[1] is None

    def kv_blocking(self):
        key = self.fresh("kv")
        self.c.kv.put(key, "1")
        index = self.c.kv.get(key)[0]
        timer = threading.Timer(0.2, lambda: consul.Consul(self.c.http.host, self.c.http.port).kv.put(key, "2"))
        timer.start()
        after, entry = self.c.kv.get(key, index=index, wait="15s")
        timer.join()
        assert int(after) > int(index) and entry["Value"] == b"2", entry
        self.c.kv.delete(key)

    # sessions, locks on keys, transactions

    def session(self, **more):
        return self.c.session.create(**{"name": self.fresh("session"), "lock_delay": 0, **more})

    def session_lives(self):
        name = self.fresh("session")
        session = self.c.session.create(name=name, ttl=30, lock_delay=5, behavior="delete")
        shown = self.c.session.info(session)[1]
        assert (shown["ID"], shown["Name"], shown["Behavior"]) == (session, name, "delete"), shown
        assert (shown["TTL"], shown["LockDelay"]) == ("30s", 5_000_000_000), shown
        assert shown["CreateIndex"] > 0 and shown["Node"], shown
        assert session in [entry["ID"] for entry in self.c.session.list()[1]]
        assert session in [entry["ID"] for entry in self.c.session.node(shown["Node"])[1]]
        assert self.c.session.renew(session)["ID"] == session
        assert self.c.session.destroy(session) is True
        assert not self.c.session.info(session)[1]
        refused(404, lambda: self.c.session.renew(session))
        assert self.c.session.destroy(session) is True

    def session_blocking(self):
        index = self.c.session.list()[0]
        timer = threading.Timer(0.2, lambda: consul.Consul(self.c.http.host, self.c.http.port).session.create(ttl=10))
        timer.start()
        after, sessions = self.c.session.list(index=index, wait="15s")
        timer.join()
        assert int(after) > int(index) and sessions, (index, after)

    def kv_lock(self):
        key, (a, b) = self.fresh("lock"), (self.session(), self.session())
        assert self.c.kv.put(key, "a", acquire=a) is True
        assert self.c.kv.put(key, "a", acquire=a) is True
        assert self.c.kv.put(key, "b", acquire=b) is False
        entry = self.c.kv.get(key)[1]
        assert (entry["Session"], entry["LockIndex"], entry["Value"]) == (a, 1, b"a"), entry
        assert self.c.kv.put(key, "b", release=b) is False
        assert self.c.kv.put(key, "", release=a) is True
        assert "Session" not in self.c.kv.get(key)[1]
        assert self.c.kv.put(key, "b", acquire=b) is True
        assert self.c.kv.get(key)[1]["LockIndex"] == 2
        refused(500, lambda: self.c.kv.put(key, "c", acquire=str(uuid.uuid4())))
        for session in (a, b):
            self.c.session.destroy(session)
        entry = self.c.kv.get(key)[1]
        assert "Session" not in entry and entry["LockIndex"] == 2, entry
        self.c.kv.delete(key)

    def kv_lock_delay_and_delete(self):
        key = self.fresh("lock")
        first, second = self.session(lock_delay=5, behavior="delete"), self.session()
        assert self.c.kv.put(key, "1", acquire=first) is True
        self.c.session.destroy(first)
        assert self.c.kv.get(key)[1] is None, "it is deleted with its session"
        assert self.c.kv.put(key, "2", acquire=second) is False, "within the lock delay"
        until("the end of the delay", lambda: self.c.kv.put(key, "2", acquire=second))
        self.c.session.destroy(second)
        self.c.kv.delete(key)

    def leader_election(self):
        """The recipe of Consul's guides: acquire, or wait for the key to change and try again."""
        key, leaders, within = self.fresh("leader"), [], []

        def candidate(number):
            c = consul.Consul(self.c.http.host, self.c.http.port)
            session = c.session.create(ttl=300, lock_delay=0)
            index = None
            while not c.kv.put(key, str(number), acquire=session):
                index, entry = c.kv.get(key, index=index, wait="5s")
                if entry is None or "Session" not in entry:
                    index = None
            within.append(number)
            assert len(within) == 1, within
            leaders.append(number)
            time.sleep(0.05)
            within.remove(number)
            assert c.kv.put(key, "", release=session) is True
            c.session.destroy(session)

        threads = [threading.Thread(target=candidate, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(leaders) == [0, 1, 2, 3, 4], leaders
        assert self.c.kv.get(key)[1]["LockIndex"] == 5
        self.c.kv.delete(key)

    def session_ends_with_its_check(self):
        check, key = self.fresh("check"), self.fresh("lock")
        self.c.agent.check.register(check, check=consul.Check.ttl("60s"))
        self.c.agent.check.ttl_pass(check)
        session = self.session(checks=[check])
        assert self.c.kv.put(key, "", acquire=session) is True
        self.c.agent.check.ttl_fail(check)
        until("the session to end", lambda: not self.c.session.info(session)[1])
        assert "Session" not in self.c.kv.get(key)[1]
        refused(500, lambda: self.session(checks=[check]))
        self.c.agent.check.deregister(check)
        self.c.kv.delete(key)

    def transactions(self):
        root, session = self.fresh("txn"), self.session()

        def op(verb, key, value="", **more):
            encoded = base64.b64encode(value.encode()).decode()
            return {"KV": {"Verb": verb, "Key": f"{root}/{key}", "Value": encoded, **more}}

        done = self.c.txn.put([op("set", "a", "1"), op("lock", "b", "2", Session=session), op("get", "a")])
        results = [result["KV"] for result in done["Results"]]
        assert [result["Key"] for result in results] == [f"{root}/a", f"{root}/b", f"{root}/a"], done
        assert results[1]["Session"] == session and base64.b64decode(results[2]["Value"]) == b"1", done
        refused(409, lambda: self.c.txn.put([op("set", "c", "3"), op("check-not-exists", "a")]))
        assert self.c.kv.get(f"{root}/c")[1] is None, "nothing of it was done"
        stale = results[0]["ModifyIndex"] + 1
        refused(409, lambda: self.c.txn.put([op("cas", "a", "4", Index=stale)]))
        tree = self.c.txn.put([op("get-tree", ""), op("delete-tree", "")])["Results"]
        assert len(tree) == 2 and self.c.kv.get(f"{root}/", recurse=True)[1] is None, tree
        self.c.session.destroy(session)

    # prepared queries, events, and what operators ask

    def ids_of(self, executed):
        return sorted(entry["Service"]["ID"] for entry in executed["Nodes"])

    def prepared_queries(self):
        name, query = self.fresh("web"), self.fresh("query")
        created = self.c.query.create(name, name=query, onlypassing=True, tags=["v1"], ttl="10s", regexp="")["ID"]
        try:
            (shown,) = self.c.query.get(created)
            assert (shown["Name"], shown["Service"]["Service"]) == (query, name), shown
            assert (shown["Service"]["Tags"], shown["DNS"]["TTL"]) == (["v1"], "10s"), shown
            assert created in [one["ID"] for one in self.c.query.list()]
            refused(500, lambda: self.c.query.create(name, session=str(uuid.uuid4())))
            with self.service(name, service_id=f"{name}-1", port=1, tags=["v1"]):
                with self.service(name, service_id=f"{name}-2", port=2, tags=["v2"]):
                    executed = self.c.query.execute(query)
                    assert (executed["Service"], executed["Failovers"]) == (name, 0), executed
                    assert self.ids_of(executed) == [f"{name}-1"], executed
                    assert self.ids_of(self.c.query.execute(created, near="_agent", limit=1)) == [f"{name}-1"]
                    assert self.c.query.update(created, service=name, name=query, tags=["!v1"]) is True
                    assert self.ids_of(self.c.query.execute(query)) == [f"{name}-2"]
            assert self.c.query.execute(query)["Nodes"] == []
            assert self.c.query.explain(query)["Query"]["ID"] == created
        finally:
            assert self.c.query.delete(created) is True
        refused(404, lambda: self.c.query.execute(query))

    def prepared_query_templates(self):
        name, prefix = self.fresh("web"), self.fresh("geo")
        made = self.c.query.create("${match(1)}", name=prefix, regexp=f"^{prefix}-(.*)$")["ID"]
        try:
            with self.service(name, port=80):
                assert self.ids_of(self.c.query.execute(f"{prefix}-{name}")) == [name]
            rendered = self.c.query.explain(f"{prefix}-{name}")["Query"]
            assert rendered["Service"]["Service"] == name, rendered
        finally:
            self.c.query.delete(made)

    def prepared_query_ends_with_its_session(self):
        session = self.session()
        created = self.c.query.create(self.fresh("web"), name=self.fresh("query"), session=session)["ID"]
        self.c.session.destroy(session)
        assert created not in [one["ID"] for one in self.c.query.list()]

    def events(self):
        name = self.fresh("deploy")
        index, events = self.c.event.list(name=name)
        assert events == [] and int(index) > 0, (index, events)
        fired = self.c.event.fire(name, body="v1")
        index, events = until("the event", lambda: (lambda listed: listed[1] and listed)(self.c.event.list(name=name)))
        assert [(one["ID"], one["Payload"]) for one in events] == [(fired["ID"], b"v1")], events
        half = fired["ID"].replace("-", "")
        assert int(index) == int(half[:16], 16) ^ int(half[16:], 16), "clients work the index out from the id"
        timer = threading.Timer(0.2, lambda: consul.Consul(self.c.http.host, self.c.http.port).event.fire(name, "v2"))
        timer.start()
        after, events = self.c.event.list(name=name, index=index)
        timer.join()
        assert after != index and [one["Payload"] for one in events] == [b"v1", b"v2"], events

    def operators_questions(self):
        servers = self.c.operator.raft_config()["Servers"]
        assert [server["Leader"] for server in servers].count(True) == 1, servers
        assert [one["Datacenter"] for one in self.c.coordinate.datacenters()] == self.c.catalog.datacenters()
        assert isinstance(self.c.coordinate.nodes()[1], list)

    def config_entries(self):
        if not hasattr(self.c, "config"):
            return  # python-consul knows none
        name, kind = self.fresh("web"), "service-defaults"
        assert self.c.config.get(kind, name) is None
        assert self.c.config.set(kind, name, {"Protocol": "http"}, cas=0) is True
        assert self.c.config.set(kind, name, {"Protocol": "grpc"}, cas=0) is False
        entry = self.c.config.get(kind, name)
        assert (entry["Kind"], entry["Name"], entry["Protocol"]) == (kind, name, "http"), entry
        assert name in [one["Name"] for one in self.c.config.list(kind)]
        refused(400, lambda: self.c.config.set(kind, name, {"Protokol": "grpc"}))
        refused(400, lambda: self.c.config.set("service-splitter", name, {"Splits": [{"Weight": 50}]}))
        self.c.config.delete(kind, name)
        assert self.c.config.get(kind, name) is None

    def near_the_agent(self):
        name, node = self.fresh("web"), self.fresh("host")
        register = {"Service": name, "ID": f"{name}-far", "Port": 1}
        assert self.c.catalog.register(node, "127.0.0.9", service=register)
        with self.service(name, port=80):
            ports = [entry["Service"]["Port"] for entry in self.health(name, near="_agent")]
            assert ports == [80, 1], ports
        self.c.catalog.deregister(node)

    def snapshots(self):
        if not hasattr(self.c, "snapshot"):
            return
        key = self.fresh("key")
        self.c.kv.put(key, "before")
        saved = self.c.snapshot.save()
        assert saved[:2] == b"\x1f\x8b", saved[:8]
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            files = {name: archive.extractfile(name).read() for name in archive.getnames()}
        for line in files["SHA256SUMS"].decode().splitlines():
            digest, name = line.split("  ")
            assert hashlib.sha256(files[name]).hexdigest() == digest, name
        assert json.loads(files["meta.json"])["Size"] == len(files["state.bin"])
        self.c.kv.put(key, "after")
        assert self.c.snapshot.restore(saved) is True
        assert self.c.kv.get(key)[1]["Value"] == b"before"

    def discovery_chain(self):
        if not hasattr(self.c, "discovery_chain"):
            return
        name = self.fresh("web")
        chain = self.c.discovery_chain.get(name)["Chain"]
        assert chain["ServiceName"] == name and chain["StartNode"] in chain["Nodes"], chain

    # discovery as consumers see it end to end

    def three_instances_one_fails(self):
        name = self.fresh("web")
        with contextlib.ExitStack() as stack:
            for n in range(3):
                stack.enter_context(
                    self.service(name, service_id=f"{name}-{n}", port=8000 + n, check=consul.Check.ttl("30s"))
                )
                self.c.agent.check.ttl_pass(f"service:{name}-{n}")
            ports = sorted(entry["Service"]["Port"] for entry in self.health(name, passing=True))
            assert ports == [8000, 8001, 8002], ports
            self.c.agent.check.ttl_fail(f"service:{name}-1")
            ports = sorted(entry["Service"]["Port"] for entry in self.health(name, passing=True))
            assert ports == [8000, 8002], ports
            assert len(self.health(name)) == 3


def main():
    flows = Flows(sys.argv[1], int(sys.argv[2]))
    names = [
        name
        for name, member in vars(Flows).items()
        if callable(member) and not name.startswith("_") and name not in ("fresh", "service", "session", "health", "own_check", "ids_of")
    ]
    names = sys.argv[3:] or names
    failed = 0
    for name in names:
        try:
            getattr(flows, name)()
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
    print(f"{client_name()}: {len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
