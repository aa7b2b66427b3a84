// The status page in headless Chromium. A daemon is started with monitors of servers in this process, which are
// good or bad as a test wants. PROGRAM is the daemon, CHROMIUM the browser; CAPTURE=FOLDER keeps pictures of the pages.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import readline from "node:readline";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const { PROGRAM: program, CHROMIUM: chromiumName, PATH: path } = process.env;
const executablePath = path.split(":").map((folder) => resolve(folder, chromiumName)).find(existsSync);
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const hostile = `<img src=x onerror=alert(1)> "'&</td>`;
const folder = mkdtempSync(join(tmpdir(), "status-page-"));
let browser, target, talking;
const down = new Set();

before(async () => {
  // Answers 503 for what is down.
  target = http.createServer((request, response) => {
    if (down.has(request.url)) response.writeHead(503);
    response.end("hello");
  });
  talking = net.createServer((socket) => socket.on("error", () => {}).end(`${hostile}\r\n`));
  for (const server of [target, talking]) await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const args = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking";
  const quiet = "--disable-component-update --disable-sync --hide-scrollbars";
  browser = await chromium.launch({ executablePath, args: `${args} ${quiet}`.split(" ") });
});

after(async () => {
  await browser?.close();
  talking?.close();
  target?.close();
  target?.closeAllConnections();
  rmSync(folder, { recursive: true });
});

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const url = (path) => `http://127.0.0.1:${target.address().port}${path}`;

async function daemon(t, monitors) {
  const config = join(folder, `${Math.random()}.yml`);
  writeFileSync(config, JSON.stringify({ server: { listen: "127.0.0.1:0" }, defaults: { check_every: 60 }, monitors }));
  const child = spawn(program, ["--config", config], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    // First, or the pages would complain that it is gone.
    await Promise.all(browser.contexts().map((context) => context.close()));
    child.kill("SIGKILL");
  });
  const lines = readline.createInterface({ input: child.stdout });
  return new Promise((done) => {
    lines.on("line", (line) => {
      const found = line.match(/Server is listening address=(\S+)/);
      if (found) done(`http://${found[1]}`);
    });
  });
}

// A page whose complaints fail the test at its end.
async function open(t, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => complaints.push(dialog.message()) && dialog.dismiss());
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  });
  await page.goto(address);
  return page;
}

async function checked(address, count) {
  for (;;) {
    const { unknown, up, down } = await (await fetch(`${address}/api/v1/monitors`)).json();
    if (unknown === 0 && up + down === count) return;
    await pause(50);
  }
}

async function assertAccessible(page, what) {
  await page.evaluate(() => delete window.axe);
  // By the debugger, for which the page's policy is no obstacle.
  await page.evaluate(readFileSync(axe, "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.slice(0, 3).map((n) => n.html) }));
  assert.deepEqual(told, [], what);
}

const picture = async (page, name) => {
  if (process.env.CAPTURE) await page.screenshot({ path: join(process.env.CAPTURE, `${name}.png`) });
};

function some() {
  const label = (team) => ({ labels: { team } });
  return {
    shop: { url: url("/shop"), check_every: 0.5, ...label("core") },
    search: { url: url("/search"), check_every: 1, ...label("core") },
    "mail / archive": { url: url("/mail"), check_every: 1, ...label("office") },
  };
}

test("three monitors are shown, and one that goes down is within a second, without a reload", async (t) => {
  const address = await daemon(t, some());
  await checked(address, 3);
  const page = await open(t, `${address}/`);
  await page.getByText("Live.").waitFor();
  assert.equal(await page.locator("#list tbody tr").count(), 3);
  await page.evaluate(() => { window.same = true; });
  await page.locator("#list tr", { hasText: "shop" }).locator(".state.up").waitFor();
  // The moment at which a check has found out, as the API tells.
  down.add("/shop");
  t.after(() => down.clear());
  for (;;) {
    const { state } = await (await fetch(`${address}/api/v1/monitors/shop`)).json();
    if (state === "down") break;
    await pause(10);
  }
  const began = Date.now();
  await page.waitForFunction(() => {
    const first = document.querySelector("#list tbody tr").innerText;
    return document.title.startsWith("1 down") && /down[^]*shop/.test(first);
  });
  const took = Date.now() - began;
  assert.ok(took < 1000, `${took} ms`);
  assert.equal(await page.evaluate(() => window.same), true, "it was loaded again");
});

test("the page of one monitor is live too", async (t) => {
  const address = await daemon(t, some());
  await checked(address, 3);
  const page = await open(t, `${address}/monitors/mail%20%2F%20archive`);
  await page.getByText("Live.").waitFor();
  const before = await page.locator(".checks tbody tr").count();
  await page.waitForFunction((before) => document.querySelectorAll(".checks tbody tr").length > before, before);
});

test("a thousand monitors are shown", async (t) => {
  const monitor = { url: url("/"), check_every: "1d", labels: { team: "core", region: "eu" } };
  const monitors = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`service-${n}`, monitor]));
  const address = await daemon(t, monitors);
  await checked(address, 1000);
  const page = await open(t, `${address}/`);
  assert.equal(await page.locator("#list tr[id]").count(), 1000);
  await page.getByRole("searchbox").fill("service-99");
  await page.getByText("11 monitors").waitFor();
  assert.equal(await page.locator("#list tr[id]").count(), 11);
  assert.match(page.url(), /q=service-99/);
  assert.equal(await page.evaluate(() => document.activeElement.name), "q", "typing goes on");
});

test("hostile names and texts stay text", async (t) => {
  down.add("/evil");
  t.after(() => down.clear());
  const labels = { team: hostile };
  const greeting = { type: "tcp", target: `127.0.0.1:${talking.address().port}`, query_response: [{ expect: "^220" }] };
  const address = await daemon(t, {
    [hostile]: { url: url("/evil"), labels },
    greeting: { ...greeting, timeout: 1, check_every: "1d" },
  });
  await checked(address, 2);
  const page = await open(t, `${address}/`);
  await page.getByText("Live.").waitFor();
  assert.equal(await page.locator("img").count(), 0);
  // As Rust quotes it.
  const said = hostile.replaceAll('"', '\\"');
  assert.ok((await page.locator("#list tr", { hasText: "greeting" }).innerText()).includes(said));
  await page.selectOption("select[name=group]", "team");
  await page.locator(".group").first().waitFor();
  assert.ok((await page.locator(".group").first().innerText()).includes(hostile));
  const link = page.getByRole("link", { name: hostile });
  assert.equal(await link.innerText(), hostile);
  await link.click();
  await page.waitForURL(/monitors/);
  assert.equal(await page.locator("h1").innerText(), hostile);
  assert.equal(await page.locator("img").count(), 0);
  const title = await page.evaluate(async () => {
    const badge = await (await fetch(`${location.pathname.replace("/monitors/", "/badge/")}.svg`)).text();
    return new DOMParser().parseFromString(badge, "image/svg+xml").querySelector("title").textContent;
  });
  assert.equal(title, `${hostile}: down 0.0 %`);
});

test("everything is reached with the keyboard, and stays where it is when something is new", async (t) => {
  const address = await daemon(t, some());
  await checked(address, 3);
  const page = await open(t, `${address}/`);
  await page.getByText("Live.").waitFor();
  const all = "a[href], input, select, button";
  const expected = await page.locator(all).count();
  const reached = new Set();
  for (let n = 0; n < expected; n += 1) {
    await page.keyboard.press("Tab");
    reached.add(
      await page.evaluate((all) => [...document.querySelectorAll(all)].indexOf(document.activeElement), all),
    );
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none");
  }
  assert.deepEqual([reached.size, reached.has(-1)], [expected, false]);
  const link = page.getByRole("link", { name: "shop" });
  await link.focus();
  await page.evaluate(() => { window.old = document.activeElement; });
  await page.waitForFunction(() => !window.old.isConnected);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "shop");
  await page.keyboard.press("Enter");
  await page.waitForURL(/monitors\/shop/);
});

for (const colorScheme of ["light", "dark"]) {
  for (const [device, viewport] of [["desk", { width: 1280, height: 800 }], ["phone", { width: 390, height: 844 }]]) {
    test(`axe finds nothing wrong, ${colorScheme}, ${device}`, async (t) => {
      down.add("/search");
      t.after(() => down.clear());
      const address = await daemon(t, { ...some(), silent: { url: url("/silent"), check_every: "1d" } });
      await checked(address, 4);
      const page = await open(t, `${address}/?group=team`, { colorScheme, viewport });
      await page.getByText("Live.").waitFor();
      await page.waitForFunction(() => document.querySelector("#list").innerText.includes("of 5"));
      await assertAccessible(page, "all");
      const overflows = () => document.documentElement.scrollWidth > document.documentElement.clientWidth;
      assert.equal(await page.evaluate(overflows), false, "it is as wide as the screen");
      await picture(page, `all-${colorScheme}-${device}`);
      await page.goto(`${address}/monitors/search`);
      await page.getByText("Live.").waitFor();
      await assertAccessible(page, "one");
      assert.equal(await page.evaluate(overflows), false, "it is as wide as the screen");
      await picture(page, `one-${colorScheme}-${device}`);
    });
  }
}

test("without JavaScript, it is all there", async (t) => {
  down.add("/search");
  t.after(() => down.clear());
  const address = await daemon(t, some());
  await checked(address, 3);
  const page = await open(t, `${address}/`, { javaScriptEnabled: false });
  await page.getByLabel("Search").fill("mail");
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByText("1 monitor;").waitFor();
  await page.getByRole("link", { name: "mail / archive" }).click();
  await page.getByText("Last checks").waitFor();
  await page.getByRole("link", { name: "Monitors" }).click();
  await page.getByRole("link", { name: /1 .*down/ }).click();
  await page.getByText("1 monitor;").waitFor();
  assert.equal(await page.getByRole("link", { name: "search" }).count(), 1);
});
