// What a person does with the console, in a real browser. The Go side, which starts the nodes, is console_test.go:
//
//   node browser.js SCENARIO JSON
//
// A scenario ends with "ok" on standard output, or says what is wrong and exits with 1. In between it may ask for something:
// a line on standard output, and one on standard input when that is done.
"use strict";
const assert = require("assert");
const readline = require("readline");
const { chromium } = require("../clients/node_modules/playwright-core");

const patience = 30_000; // ms, of everything that is waited for
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ask(line) {
  console.log(line);
  await answers.next();
}

// open opens a page that fails the scenario for whatever the browser complains of, violations of the content security
// policy included, and for every request to another origin.
async function open(browser, url, options = {}, allowed = () => false) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const origin = new URL(url).origin;
  page.faults = [];
  page.on("pageerror", (e) => page.faults.push(`error: ${e.message}`));
  page.on("console", (m) => { if (m.type() === "error" && !allowed(m.text(), m.location().url)) page.faults.push(`console: ${m.text()} ${m.location().url}`); });
  const home = (asked) => { if (new URL(asked).host !== new URL(origin).host) page.faults.push(`a request left for ${asked}`); };
  page.on("request", (r) => home(r.url()));
  page.on("websocket", (w) => home(w.url()));
  await page.goto(url);
  return page;
}

function done(page) {
  assert.deepStrictEqual(page.faults, []);
  return page.context().close();
}

async function connect(page, { transport, protocol, hub, user }) {
  await page.fill("[name=hub]", hub);
  await page.fill("[name=user]", user);
  await page.selectOption("[name=transport]", transport);
  await page.selectOption("[name=protocol]", protocol);
  await page.click("button:text-is('Connect')");
  await page.waitForSelector("[aria-label=Connection] .pill:text-is('connected')");
}

async function send(page, audience, name, text) {
  await page.selectOption("[name=audience]", audience);
  if (audience !== "all") await page.fill("[name=name]", name);
  await page.fill("[name=arguments]", JSON.stringify([text]));
  await page.click("button:text-is('Send')");
}

// arrives waits for a message, with the time that it took.
const arrives = (page, text) => page.waitForSelector(`.messages li:has(code:text-is('["${text}"]')):has(.took:has-text('ms'))`);

async function useEverything(page, o, shown) {
  await connect(page, o);
  await page.waitForSelector(`.where:has-text('${shown} at'):has(.node)`);
  const node = await page.textContent(".node");
  assert.ok(o.nodes.includes(node), `served by ${node}`);
  await page.fill("[name=group]", "crew");
  await page.click("text=Join group");
  await page.waitForSelector(".chips li:has-text('crew')");
  for (const [audience, name] of [["all", ""], ["groups", "crew"], ["users", o.user], ["connections", await page.textContent(".chips .id code")]]) {
    const text = `${o.transport} ${o.protocol} ${audience}`;
    await send(page, audience, name, text);
    await arrives(page, text);
  }
  await page.click("button:text-is('Disconnect')");
  await page.waitForSelector("[aria-label=Connection] .pill:text-is('disconnected')");
}

const names = { WebSockets: "WebSockets", ServerSentEvents: "Server-Sent Events", LongPolling: "Long polling" };

const scenarios = {
  // Every transport and protocol, every audience.
  async try(browser, o) {
    // A polling client says goodbye in a message, and then deletes what that has ended.
    const goodbye = (text, at) => / 404 /.test(text) && /\/hubs\/chat\?.*id=/.test(at);
    const page = await open(browser, `${o.url}/#/try`, {}, goodbye);
    for (const [transport, protocol] of [["WebSockets", "json"], ["WebSockets", "messagepack"], ["ServerSentEvents", "json"], ["LongPolling", "json"], ["LongPolling", "messagepack"]]) {
      await useEverything(page, { ...o, transport, protocol, user: "ada" }, names[transport]);
    }
    // What was sent while nobody listened is not what takes the time of the next message that is the same.
    await page.fill("[name=arguments]", `["early"]`);
    await page.click("button:text-is('Send')");
    await page.waitForSelector(".result.good");
    await page.waitForTimeout(2000);
    await connect(page, { ...o, transport: "WebSockets", protocol: "json", user: "ada" });
    await send(page, "all", "", "early");
    const took = await (await arrives(page, "early")).innerText();
    assert.ok(parseFloat(took.match(/([\d.]+) ms/)[1]) < 2000, took);
    await page.fill("[name=arguments]", "{bad");
    await page.click("button:text-is('Send')");
    await page.waitForSelector(".result.bad:has-text('Arguments must be a JSON array')");
    await page.fill("[name=arguments]", "[1]");
    await page.click("button:text-is('curl')");
    assert.match(await page.textContent("pre"), /^curl -X POST '.*\/api\/hubs\/.*' \\\n/);
    await page.click("button:text-is('JavaScript')");
    assert.match(await page.textContent("pre"), /new signalR\.HubConnectionBuilder\(\)/);
    await done(page);
  },

  // A proxy that refuses WebSockets is in between: the client finds another transport.
  async fallback(browser, o) {
    const refused = (text) => /WebSocket|transport/i.test(text); // what the browser and the client say of that
    const page = await open(browser, `${o.url}/#/try`, {}, refused);
    await useEverything(page, { ...o, transport: "auto", protocol: "json", user: "ada" }, names.ServerSentEvents);
    await done(page);
  },

  // Charts follow what happens; a killed node is shown as gone, one that is drained as that.
  async watch(browser, o) {
    const page = await open(browser, `${o.url}/#/watch`);
    for (const node of o.nodes) await page.waitForSelector(`tr[data-node=${node}] .pill:text-is('ready')`);
    const chart = (title) => page.locator(`.chart[aria-label="${title}"]`);
    const before = await chart("Sends and deliveries").locator("canvas").evaluate((c) => c.toDataURL());
    await ask("traffic");
    for (const [title, series] of [["Connections", "WebSockets"], ["Sends and deliveries", "Sends"], ["Sends and deliveries", "Deliveries"]]) {
      await chart(title).locator(`li:has-text('${series}')`).filter({ hasNotText: /[^0-9.]0$/ }).locator("b:not(:text-is('0'))").waitFor();
    }
    await chart("Publish to write").locator("b:has-text('ms')").first().waitFor();
    const after = await chart("Sends and deliveries").locator("canvas").evaluate((c) => c.toDataURL());
    assert.notStrictEqual(after, before, "the chart is as it was");
    await ask("kill");
    await page.waitForSelector(`tr[data-node=${o.victim}].dead .pill:text-is('gone')`);
    await page.waitForSelector(`tr[data-node=${o.nodes[0]}] .pill:text-is('ready')`);
    await ask("drain");
    await page.waitForSelector(`tr[data-node=${o.drained}] .pill:text-is('draining')`);
    await page.waitForSelector(`tr[data-node=${o.drained}].dead .pill:text-is('stopped')`);
    await page.waitForSelector(".stat:has-text('Nodes'):has-text('1 of 3')");
    await done(page);
  },

  // What was addressed to whom, whether it was acknowledged, and one connection's page with its actions.
  async lookback(browser, o) {
    const page = await open(browser, `${o.url}/#/try`);
    await connect(page, { ...o, transport: "WebSockets", protocol: "json", user: "ada" });
    const id = await page.textContent(".chips .id code");
    await page.fill("[name=group]", "crew");
    await page.click("text=Join group");
    await page.waitForSelector(".chips li:has-text('crew')");
    for (const [audience, name] of [["all", ""], ["groups", "crew"], ["users", "ada"], ["users", "grace"]]) {
      await page.fill("[name=target]", `to-${audience}-${name}`);
      await send(page, audience, name, "secret words");
      if (name !== "grace") await arrives(page, "secret words");
      else await page.waitForSelector(".result.good");
    }
    await page.click("nav a:text-is('Look back')");
    await page.fill("[name=hub]", o.hub);
    const filter = async (name, value, want) => {
      await page.fill(`[name=${name}]`, value);
      await page.click("button:text-is('Look')");
      await page.waitForFunction((all) => [...document.querySelectorAll(".timeline .message .what b")].map((b) => b.textContent).sort().join() === all, want.sort().join());
      await page.fill(`[name=${name}]`, "");
    };
    await filter("user", "ada", ["to-users-ada"]);
    await filter("group", "crew", ["to-groups-crew"]);
    await filter("target", "to-users-grace", ["to-users-grace"]);
    await filter("connection", id, ["to-all-", "to-groups-crew", "to-users-ada"]);
    assert.ok(!(await page.content()).includes("secret words"), "a payload is shown");

    await page.goto(`${o.url}/#/connection/${o.hub}/${id}`);
    await page.waitForSelector(".facts .pill:text-is('open')");
    await page.waitForSelector(".chips li:has-text('crew')");
    // The client acknowledges within seconds; until then it says that it has not.
    await page.waitForFunction(() => document.querySelectorAll(".timeline .message .pill.good").length === 3);
    await page.fill("[name=group]", "deck");
    await page.click("text=Join group");
    await page.waitForSelector(".chips li:has-text('deck')");
    // The newest of many.
    const status = await page.evaluate(async ([hub, connection]) => {
      const operations = [...Array(600).keys()].map((n) => ({ target: `flood-${n}`, arguments: [] }));
      operations.push({ op: "join", connection, group: ".." });
      return (await fetch(`api/hubs/${hub}/batch`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(operations) })).status;
    }, [o.hub, id]);
    assert.strictEqual(status, 200);
    await page.waitForFunction(() => document.querySelector(".timeline .message .what b")?.textContent === "flood-599");
    assert.strictEqual(await page.locator(".timeline > li").count(), 100);
    await page.waitForFunction(() => document.querySelectorAll(".timeline .message .pill.good").length > 90);
    // A browser would resolve the address of this group's membership to that of the connection.
    await page.click("[aria-label='Leave ..']");
    await page.waitForSelector(".toast.bad:has-text('No address')");
    await page.waitForSelector(".facts .pill:text-is('open')");
    for (const path of [`connection/${o.hub}/${id}`, `hubs/${o.hub}`]) {
      const phone = await open(browser, `${o.url}/#/${path}`, { viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true });
      await phone.waitForSelector(`code:text-is('${id}')`);
      const width = await phone.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 360, `${path} is ${width} px wide`);
      await done(phone);
    }
    await page.click("text=Close connection");
    await page.waitForSelector("[role=alert]:has-text('has ended')");
    await page.click("nav a:text-is('Try')");
    await page.waitForSelector("[aria-label=Connection] .pill:text-is('closed')");
    page.faults = page.faults.filter((fault) => !/ 404 |closed by an operator/.test(fault)); // of a connection that has ended
    await done(page);
  },

  // Why the client of a connection last came back, from which node.
  async returned(browser, o) {
    const page = await open(browser, `${o.url}/#/connection/${o.hub}/${o.id}`);
    const fact = (name, text) => page.waitForSelector(`.facts dt:text-is('${name}') + dd:has-text('${text}')`);
    await fact("Last came back", "it has not");
    await fact("Lag", "none");
    const served = async () => (await page.textContent(".facts dt:text-is('Served by') + dd")).trim();
    const first = await served();
    await ask(`drain ${first}`);
    await fact("Last came back", `from ${first}: the node was about to stop`);
    const second = await served();
    assert.notStrictEqual(second, first);
    await ask(`kill ${second}`);
    await fact("Last came back", `from ${second}: the node is gone`);
    await done(page);
  },

  // Tables in pages, searched, with their actions.
  async tables(browser, o) {
    const page = await open(browser, `${o.url}/#/hubs`);
    await page.click(`section[aria-label=Hubs] a:text-is('${o.hub}')`);
    const rows = page.locator("section[aria-label=Connections] tbody tr");
    await page.waitForFunction((n) => document.querySelector("section[aria-label=Connections] .count").textContent === n, String(o.connections));
    const first = await rows.count();
    await page.click("button:text-is('Next')");
    await page.waitForFunction((n) => document.querySelectorAll("section[aria-label=Connections] tbody tr").length === n, o.connections - first);
    await page.click("button:text-is('Previous')");
    await page.waitForFunction((n) => document.querySelectorAll("section[aria-label=Connections] tbody tr").length === n, first);
    // Users and groups have their exact numbers, are in pages too, and are found by how they begin.
    const names = (kind) => page.locator(`section[aria-label=${kind}] tbody button`);
    const listed = (kind, want) => page.waitForFunction(([kind, want]) => [...document.querySelectorAll(`section[aria-label=${kind}] tbody tr`)].map((row) => row.innerText.replace(/\s+/g, " ").trim()).join() === want, [kind, want]);
    await page.waitForSelector(`section[aria-label=Users] .count:text-is('${o.users}')`);
    assert.strictEqual(await names("Users").count(), 50);
    await page.click("section[aria-label=Users] button:text-is('Next')");
    await page.waitForFunction((n) => document.querySelectorAll("section[aria-label=Users] tbody tr").length === n, o.users - 50);
    await page.click("section[aria-label=Users] button:text-is('Previous')");
    await page.waitForFunction(() => document.querySelectorAll("section[aria-label=Users] tbody tr").length === 50);
    await page.fill("[name=users]", "user-4");
    await page.waitForFunction(() => document.querySelectorAll("section[aria-label=Users] tbody tr").length === 10);
    await page.fill("[name=users]", "zoë");
    await listed("Users", "zoë 2");
    await page.click("section[aria-label=Users] button:text-is('zoë')");
    await page.waitForFunction(() => document.querySelectorAll("section[aria-label=Connections] tbody tr").length === 2);
    await page.click("[aria-label='Show all connections']");
    await page.waitForFunction((n) => document.querySelectorAll("section[aria-label=Connections] tbody tr").length === n, first);
    await page.fill("[name=users]", "gra");
    await listed("Users", "grace 1");
    await page.click("section[aria-label=Users] button:text-is('grace')");
    await page.waitForFunction(() => document.querySelectorAll("section[aria-label=Connections] tbody tr").length === 1);
    await page.fill("[name=group]", "crew");
    await rows.locator("button:text-is('Join')").click();
    await listed("Groups", "crew 1");
    await rows.locator(".tag:text-is('crew')").waitFor();
    await rows.locator("button:text-is('Close')").click();
    await page.waitForSelector("section[aria-label=Connections] .empty:has-text('No connection matches')");
    await done(page);
  },

  // A node that needs tokens shows nothing without an admin key, which is kept in the tab only; with it all works.
  async keys(browser, o) {
    // A polling client says goodbye in a message, and then deletes what that has ended.
    const refused = (text, at) => /401/.test(text) || / 404 /.test(text) && /\/hubs\/chat\?.*id=/.test(at);
    const page = await open(browser, `${o.url}/`, {}, refused);
    await page.waitForSelector("[name=key][type=password]");
    assert.strictEqual(await page.locator(".stat").count(), 0, "figures are shown without a key");
    await page.fill("[name=key]", "not-the-admin-key-of-the-node");
    await page.click("button:text-is('Open')");
    await page.waitForSelector("[role=alert]:has-text('not an admin key')");
    await page.fill("[name=key]", o.key);
    await page.click("button:text-is('Open')");
    await page.waitForSelector(".stat");
    await page.waitForSelector(".pill:text-is('live')");
    await page.reload();
    await page.waitForSelector(".stat"); // the tab still has it
    assert.strictEqual(await page.evaluate(() => JSON.stringify([document.cookie, Object.values(localStorage)]).includes("admin")), false, "it is kept for longer");

    await page.goto(`${o.url}/#/try`);
    for (const transport of ["WebSockets", "ServerSentEvents", "LongPolling"]) {
      await page.fill("[name=hub]", o.hub);
      await page.fill("[name=token]", o.token);
      await page.selectOption("[name=transport]", transport);
      await page.click("button:text-is('Connect')");
      await page.waitForSelector("[aria-label=Connection] .pill:text-is('connected')");
      await page.fill("[name=group]", "crew");
      await page.click("text=Join group");
      await page.waitForSelector(".chips li:has-text('crew')");
      await send(page, "groups", "crew", `to the crew by ${transport}`);
      await arrives(page, `to the crew by ${transport}`);
      await page.click("button:text-is('Disconnect')");
      await page.waitForSelector("[aria-label=Connection] .pill:text-is('disconnected')");
    }
    assert.match(await page.textContent("[aria-label='The same as code'] pre"), /Authorization: Bearer \$TOKEN/);
    await page.goto(`${o.url}/#/log/${o.hub}`);
    await page.waitForSelector(".timeline li");
    await page.goto(`${o.url}/#/hubs`);
    await page.waitForSelector(`th:has-text('${o.hub}')`);
    await done(page);

    const another = await open(browser, `${o.url}/`, {}, refused); // another tab is asked again
    await another.waitForSelector("[name=key]");
    await done(another);
  },

  // Nothing inline runs, whoever wrote it; a phone need not scroll sideways; a keyboard is enough; dark is dark.
  async page(browser, o) {
    const refused = (text) => /Content Security Policy/.test(text);
    const strict = await open(browser, `${o.url}/`, {}, refused);
    await strict.waitForSelector(".stat");
    await strict.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
      document.body.setAttribute("style", "color: red");
      const image = new Image();
      image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
      document.body.append(image);
      return new Promise((resolve) => { image.onerror = image.onload = resolve; });
    });
    assert.strictEqual(await strict.evaluate(() => window.ran), undefined, "an inline script ran");
    assert.notStrictEqual(await strict.evaluate(() => getComputedStyle(document.body).color), "rgb(255, 0, 0)", "an inline style counts");
    assert.strictEqual(await strict.evaluate(() => document.querySelector("img").naturalWidth), 0, "an inline image is shown");
    await done(strict);

    const phone = await open(browser, `${o.url}/`, { viewport: { width: 360, height: 700 }, colorScheme: "dark", hasTouch: true, isMobile: true });
    for (const name of await phone.locator("nav a").allTextContents()) {
      await phone.tap(`nav a:text-is('${name}')`);
      await phone.waitForSelector(`nav a[aria-current=page]:text-is('${name}')`);
      const width = await phone.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 360, `${name} is ${width} px wide`);
      assert.strictEqual(await phone.evaluate(() => scrollY), 0, `${name} does not begin at its top`);
      await phone.evaluate(() => scrollTo(0, document.body.scrollHeight));
    }
    const [r] = (await phone.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).match(/\d+/);
    assert.ok(Number(r) < 64, "the page is not dark");
    await done(phone);

    const skipper = await open(browser, `${o.url}/#/hubs`);
    await skipper.waitForSelector("section[aria-label=Hubs]");
    await skipper.keyboard.press("Tab");
    await skipper.keyboard.press("Enter");
    await skipper.waitForFunction(() => document.activeElement.id === "main");
    await skipper.waitForSelector("section[aria-label=Hubs]");
    assert.strictEqual(new URL(skipper.url()).hash, "#/hubs", "skipping to the content left the page");
    await done(skipper);

    // An address that somebody has cut off is a name like any other.
    const cut = await open(browser, `${o.url}/#/hubs/50%`, {}, (text) => / 400 /.test(text));
    await cut.waitForSelector(`h1:has-text("50%")`);
    await done(cut);

    const keys = await open(browser, `${o.url}/#/watch`);
    await keys.waitForSelector(".stat");
    const tab = async (to) => {
      for (let i = 0; i < 40; i++) {
        if (await keys.evaluate((text) => document.activeElement.textContent.trim() === text, to)) return;
        await keys.keyboard.press("Tab");
      }
      assert.fail(`no Tab leads to ${to}`);
    };
    await tab("Try");
    await keys.keyboard.press("Enter");
    await keys.waitForSelector("[name=hub]");
    await tab("Connect");
    await keys.keyboard.press("Enter");
    await keys.waitForSelector("[aria-label=Connection] .pill:text-is('connected')");
    await tab("Send");
    await keys.keyboard.press("Enter");
    await keys.waitForSelector(".messages .took:has-text('ms')");
    await done(keys);
  },
};

(async () => {
  const [name, options] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
  try {
    await scenarios[name](browser, JSON.parse(options));
    console.log("ok");
  } finally {
    await browser.close();
  }
  process.exit(0);
})().catch((error) => {
  console.log(`failed: ${error.stack}`.replaceAll("\n", " | "));
  process.exit(1);
});
