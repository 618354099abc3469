// What applications do with the npm client `consul`, against any server that speaks Consul's HTTP API.
//
//     node npm_flows.mjs HOST PORT [FLOW...]
//
// Prints what fails and a last line with the counts; the exit status is 1 if any flow failed.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import Consul from "consul";

const PATIENCE_MS = 60_000;
const [host, port, ...chosen] = process.argv.slice(2);
const consul = new Consul({ host, port });

const fresh = (what) => `${what}-${randomUUID().slice(0, 8)}`;

async function until(what, probe) {
  const end = Date.now() + PATIENCE_MS;
  while (Date.now() < end) {
    const found = await probe();
    if (found) return found;
    await sleep(20);
  }
  throw new Error(`did not come to pass within ${PATIENCE_MS} ms: ${what}`);
}

async function refused(status, call) {
  try {
    await call();
  } catch (error) {
    assert.equal(error.statusCode, status, `expected ${status}, got ${error.message}`);
    return String(error.response?.body ?? error.message);
  }
  throw new Error(`expected a refusal with ${status}`);
}

async function withService(options, work) {
  await consul.agent.service.register(options);
  try {
    await work();
  } finally {
    await consul.agent.service.deregister(options.id ?? options.name).catch(() => {});
  }
}

const passing = (service) => consul.health.service({ service, passing: true });

/** Watches until `enough(data)`, then returns all that was seen. */
function watch(method, options, enough) {
  const watcher = consul.watch({ method, options: { wait: "10s", ...options }, backoffFactor: 50 });
  const seen = [];
  const done = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the watch saw only ${JSON.stringify(seen)}`)), PATIENCE_MS);
    watcher.on("change", (data) => {
      seen.push(data);
      if (enough(data)) resolve();
    });
    watcher.on("error", reject);
    const stop = () => clearTimeout(timer);
    watcher.on("end", stop);
  }).finally(() => watcher.end());
  return { seen, done };
}

const flows = {
  async agent_self_and_members() {
    const self = await consul.agent.self();
    assert.ok(self.Config.Datacenter && self.Config.Version);
    const members = await consul.agent.members();
    assert.ok(members.some((member) => member.Name === self.Config.NodeName && member.Status === 1));
  },

  async status() {
    assert.ok((await consul.status.peers()).includes(await consul.status.leader()));
  },

  async register_list_deregister() {
    const name = fresh("web");
    const service = { name, id: `${name}-1`, address: "127.0.0.2", port: 8080, tags: ["a"], meta: { v: "2" } };
    await withService(service, async () => {
      const own = (await consul.agent.service.list())[service.id];
      assert.deepEqual([own.Service, own.Address, own.Port, own.Tags, own.Meta.v], [name, "127.0.0.2", 8080, ["a"], "2"]);
      const [entry] = await consul.catalog.service.nodes(name);
      assert.equal(entry.ServiceID, service.id);
      assert.deepEqual((await consul.catalog.service.list())[name], ["a"]);
    });
    assert.deepEqual(await consul.catalog.service.nodes(name), []);
    await refused(404, () => consul.agent.service.deregister(service.id));
  },

  async ttl_check() {
    const name = fresh("ttl");
    await withService({ name, port: 80, check: { ttl: "30s" } }, async () => {
      assert.deepEqual(await passing(name), []);
      await consul.agent.check.pass({ id: `service:${name}`, note: "well" });
      const [entry] = await passing(name);
      assert.equal(entry.Checks.find((check) => check.CheckID === `service:${name}`).Output, "well");
      await consul.agent.check.warn(`service:${name}`);
      assert.deepEqual(await passing(name), []);
      assert.equal((await consul.health.service(name)).length, 1);
      await consul.agent.check.fail(`service:${name}`);
      assert.equal((await consul.agent.check.list())[`service:${name}`].Status, "critical");
    });
  },

  async ttl_check_expires() {
    const name = fresh("ttl");
    await withService({ name, port: 80, check: { ttl: "500ms", status: "passing" } }, async () => {
      await until("it passes", async () => {
        await consul.agent.check.pass(`service:${name}`);
        return (await passing(name)).length === 1;
      });
      await until("the check expires", async () => (await passing(name)).length === 0);
    });
  },

  async http_check() {
    const name = fresh("http");
    let status = 200;
    const web = http.createServer((_, response) => response.writeHead(status).end("here"));
    await new Promise((resolve) => web.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${web.address().port}/`;
    try {
      await withService({ name, port: 80, check: { http: url, interval: "200ms", timeout: "2s" } }, async () => {
        await until("the check passes", async () => (await passing(name)).length === 1);
        status = 503;
        await until("the check fails", async () => (await passing(name)).length === 0);
      });
    } finally {
      web.close();
    }
  },

  async tcp_check() {
    const name = fresh("tcp");
    const listener = net.createServer((socket) => socket.destroy());
    await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
    const tcp = `127.0.0.1:${listener.address().port}`;
    await withService({ name, port: 80, checks: [{ tcp, interval: "200ms" }] }, async () => {
      await until("the check passes", async () => (await passing(name)).length === 1);
      await new Promise((resolve) => listener.close(resolve));
      await until("the check fails", async () => (await passing(name)).length === 0);
    });
  },

  async several_checks() {
    const name = fresh("web");
    await withService({ name, port: 80, checks: [{ ttl: "30s" }, { ttl: "30s" }] }, async () => {
      await consul.agent.check.pass(`service:${name}:1`);
      assert.deepEqual(await passing(name), []);
      await consul.agent.check.pass(`service:${name}:2`);
      assert.equal((await passing(name)).length, 1);
    });
  },

  async check_on_its_own() {
    const name = fresh("web");
    const id = fresh("check");
    await withService({ name, port: 80 }, async () => {
      await consul.agent.check.register({ name: "disk", id, serviceid: name, ttl: "30s", notes: "how full" });
      assert.equal((await consul.health.checks(name))[0].Notes, "how full");
      assert.ok((await consul.health.state("critical")).some((check) => check.CheckID === id));
      await consul.agent.check.deregister(id);
      await refused(404, () => consul.agent.check.deregister(id));
    });
  },

  async bad_registrations_are_refused() {
    const name = fresh("web");
    for (const check of [
      { grpc: "nowhere", interval: "10s" },
      { args: ["true"], interval: "10s" },
      { ttl: "soon" },
      { http: "https://127.0.0.1/", interval: "10s" },
      { tcp: "nowhere", interval: "10s" },
    ]) {
      await refused(400, () => consul.agent.service.register({ name, check }));
    }
    await refused(400, () => consul.agent.service.register({ name, port: 70000 }));
    assert.ok(!(name in (await consul.agent.service.list())));
  },

  async maintenance() {
    const name = fresh("web");
    await withService({ name, port: 80 }, async () => {
      await consul.agent.service.maintenance({ id: name, enable: true, reason: "rebuilt" });
      assert.deepEqual(await passing(name), []);
      await consul.agent.service.maintenance({ id: name, enable: false });
      assert.equal((await passing(name)).length, 1);
      await consul.agent.maintenance({ enable: true, reason: "disk" });
      assert.deepEqual(await passing(name), []);
      await consul.agent.maintenance({ enable: false });
      assert.equal((await passing(name)).length, 1);
    });
  },

  async nodes_and_datacenters() {
    const { Config } = await consul.agent.self();
    assert.deepEqual(await consul.catalog.datacenters(), [Config.Datacenter]);
    assert.ok((await consul.catalog.node.list()).some((node) => node.Node === Config.NodeName));
    const name = fresh("web");
    await withService({ name, port: 80 }, async () => {
      assert.equal((await consul.catalog.node.services(Config.NodeName)).Services[name].Port, 80);
      assert.ok((await consul.health.node(Config.NodeName)).some((check) => check.CheckID === "serfHealth"));
    });
  },

  async catalog_register() {
    const [node, name] = [fresh("host"), fresh("db")];
    await consul.catalog.register({ node, address: "127.0.0.9", service: { service: name, id: name, port: 5432 } });
    assert.equal((await consul.health.service(name))[0].Node.Node, node);
    await consul.catalog.deregister({ node });
    assert.deepEqual(await consul.health.service(name), []);
  },

  async kv() {
    const key = fresh("kv");
    assert.equal(await consul.kv.get(key), undefined);
    assert.equal(await consul.kv.set({ key, value: "one", flags: 7 }), true);
    const entry = await consul.kv.get(key);
    assert.deepEqual([entry.Value, entry.Flags], ["one", 7]);
    assert.equal(String(await consul.kv.get({ key, raw: true })), "one");
    // The client turns the answer `false` into `undefined`.
    assert.ok(!(await consul.kv.set({ key, value: "two", cas: "0" })));
    assert.equal((await consul.kv.get(key)).Value, "one");
    assert.equal(await consul.kv.set({ key, value: "two", cas: String(entry.ModifyIndex) }), true);
    assert.equal((await consul.kv.get(key)).Value, "two");
    assert.equal(await consul.kv.del(key), true);
  },

  async kv_tree() {
    const root = fresh("kv");
    for (const key of ["a", "b/c", "b/d"]) await consul.kv.set(`${root}/${key}`, key);
    assert.deepEqual(await consul.kv.keys(`${root}/`), [`${root}/a`, `${root}/b/c`, `${root}/b/d`]);
    assert.deepEqual(await consul.kv.keys({ key: `${root}/`, separator: "/" }), [`${root}/a`, `${root}/b/`]);
    const entries = await consul.kv.get({ key: `${root}/`, recurse: true });
    assert.deepEqual(entries.map((entry) => entry.Value), ["a", "b/c", "b/d"]);
    await consul.kv.del({ key: `${root}/`, recurse: true });
    await refused(404, () => consul.kv.keys(`${root}/`));
  },

  async sessions() {
    const name = fresh("session");
    const { ID } = await consul.session.create({ name, ttl: "30s", lockdelay: "5s", behavior: "delete" });
    const shown = await consul.session.info(ID);
    assert.deepEqual([shown.ID, shown.Name, shown.TTL, shown.LockDelay], [ID, name, "30s", 5_000_000_000]);
    assert.ok((await consul.session.list()).some((session) => session.ID === ID));
    assert.ok((await consul.session.node(shown.Node)).some((session) => session.ID === ID));
    assert.equal((await consul.session.renew(ID))[0].ID, ID);
    await consul.session.destroy(ID);
    assert.equal(await consul.session.info(ID), undefined);
    await refused(404, () => consul.session.renew(ID));
  },

  async locks_on_keys() {
    const key = fresh("lock");
    const create = async () => (await consul.session.create({ lockdelay: "0s", ttl: "300s" })).ID;
    const [a, b] = [await create(), await create()];
    assert.equal(await consul.kv.set({ key, value: "a", acquire: a }), true);
    assert.ok(!(await consul.kv.set({ key, value: "b", acquire: b })));
    const held = await consul.kv.get(key);
    assert.deepEqual([held.Session, held.LockIndex, held.Value], [a, 1, "a"]);
    const { seen, done } = watch(consul.kv.get, { key }, (data) => data && !data.Session);
    await until("the first look", () => seen.length === 1);
    await consul.session.destroy(a);
    await done;
    assert.equal(await consul.kv.set({ key, value: "b", acquire: b }), true);
    assert.equal(await consul.kv.set({ key, value: "", release: b }), true);
    await refused(500, () => consul.kv.set({ key, value: "", acquire: randomUUID() }));
    await consul.session.destroy(b);
    await consul.kv.del(key);
  },

  async transactions() {
    const root = fresh("txn");
    const op = (Verb, key, value = "") => ({
      KV: { Verb, Key: `${root}/${key}`, Value: Buffer.from(value).toString("base64") },
    });
    const { Results } = await consul.transaction.create([op("set", "a", "1"), op("set", "b", "2"), op("get", "a")]);
    assert.deepEqual(Results.map(({ KV }) => KV.Key), [`${root}/a`, `${root}/b`, `${root}/a`]);
    assert.equal(Buffer.from(Results[2].KV.Value, "base64").toString(), "1");
    await refused(409, () => consul.transaction.create([op("set", "c"), op("get", "missing")]));
    assert.equal(await consul.kv.get(`${root}/c`), undefined);
    await consul.transaction.create([op("delete-tree", "")]);
    await refused(404, () => consul.kv.keys(`${root}/`));
  },

  async prepared_queries() {
    const [service, name] = [fresh("web"), fresh("query")];
    const { ID } = await consul.query.create({ name, service: { service, onlypassing: true }, dns: { ttl: "10s" } });
    try {
      const shown = await consul.query.get(ID);
      assert.deepEqual([shown.Name, shown.Service.Service, shown.DNS.TTL], [name, service, "10s"]);
      assert.ok((await consul.query.list()).some((query) => query.ID === ID));
      await withService({ name: service, port: 80, tags: ["v1"] }, async () => {
        const { Nodes, Datacenter } = await consul.query.execute(name);
        assert.deepEqual(Nodes.map((node) => node.Service.Port), [80]);
        assert.deepEqual(await consul.catalog.datacenters(), [Datacenter]);
        await consul.query.update({ query: ID, name, service: { service, tags: ["!v1"] } });
        assert.deepEqual((await consul.query.execute(name)).Nodes, []);
      });
    } finally {
      await consul.query.destroy(ID);
    }
    await refused(404, () => consul.query.execute(name));
  },

  async events() {
    const name = fresh("deploy");
    assert.deepEqual(await consul.event.list(name), []);
    const { seen, done } = watch(consul.event.list, { name }, (data) => data.length === 2);
    await until("the first look", () => seen.length === 1);
    const { ID } = await consul.event.fire(name, "v1");
    await until("the first event", () => seen.some((data) => data.length === 1));
    await consul.event.fire({ name, payload: "v2" });
    await done;
    // A watch hands out what the server said, not what the client makes of it.
    assert.deepEqual(seen.at(-1).map((event) => Buffer.from(event.Payload, "base64").toString()), ["v1", "v2"]);
    assert.equal(seen.at(-1)[0].ID, ID);
  },

  async acls_are_off() {
    await refused(401, () => consul.acl.replication());
  },

  async watch_of_a_service() {
    const name = fresh("web");
    const { seen, done } = watch(consul.health.service, { service: name, passing: true }, (data) => data.length === 2);
    await until("the first answer", () => seen.length === 1);
    await withService({ name, id: `${name}-1`, port: 1 }, async () => {
      await until("the first instance", () => seen.some((data) => data.length === 1));
      await withService({ name: fresh("unrelated"), port: 1 }, async () => {
        await withService({ name, id: `${name}-2`, port: 2 }, () => done);
      });
    });
    assert.deepEqual(seen.map((data) => data.length), [0, 1, 2]);
  },

  async watch_of_a_key() {
    const key = fresh("kv");
    await consul.kv.set(key, "0");
    const { seen, done } = watch(consul.kv.get, { key }, (data) => data?.Value === "2");
    await until("the first value", () => seen.length === 1);
    await consul.kv.set(key, "1");
    await until("the second value", () => seen.length === 2);
    await consul.kv.set(key, "2");
    await done;
    assert.deepEqual(seen.map((entry) => entry.Value), ["0", "1", "2"]);
    await consul.kv.del(key);
  },
};

let failed = 0;
const names = chosen.length ? chosen : Object.keys(flows);
for (const name of names) {
  try {
    await flows[name]();
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
const manifest = new URL("node_modules/consul/package.json", import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, "utf8"));
console.log(`npm consul ${version}: ${names.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
