// The consent page as a person meets it. Every browser context is a person of its own; whatever a
// page complains about, in its console or by its policy, fails the run.
//
// usage: node consent.mjs READY_FILE BROWSER [SCREENSHOT_FOLDER]

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { dirname, join } from "node:path";
import { chromium } from "playwright-core";

const [readyFile, executablePath, screenshots] = process.argv.slice(2);
const { url: gateway, ca } = JSON.parse(readFileSync(readyFile, "utf8"));
const SITE = "https://vscode.dev/redirect";
const QUESTION = /Allow Claude Code to use this server as you\?/;

// --- A client on this computer -------------------------------------------------------

const arrivals = [];
const listener = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/callback") {
    arrivals.push(url.searchParams);
  }
  const framed = url.searchParams.get("url");
  const body = framed
    ? `<iframe src="${framed.replaceAll("&", "&amp;")}"></iframe>`
    : "<p>You can close this window.";
  response.setHeader("content-type", "text/html");
  response.end(`<!doctype html><title>Client</title><link rel=icon href=data:,>${body}`);
});
await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));

// A website that is a client, with the demo's own certificate; browsers are told that it is here.
const certificate = (name) => readFileSync(join(dirname(ca), name));
const website = createTlsServer(
  { cert: certificate("localhost.pem"), key: certificate("localhost.key") },
  (_, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>Website</title><link rel=icon href=data:,><p>Welcome back.");
  },
);
await new Promise((resolve) => website.listen(0, "127.0.0.1", resolve));
const LOOPBACK = `http://127.0.0.1:${listener.address().port}/callback`;

async function register(redirectUri) {
  const response = await fetch(`${gateway}/register`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client_name: "Claude Code", redirect_uris: [redirectUri] }),
  });
  assert.equal(response.status, 201);
  const verifier = randomBytes(32).toString("base64url");
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const client = { id: (await response.json()).client_id, redirectUri, verifier };
  const query = new URLSearchParams({
    response_type: "code",
    client_id: client.id,
    redirect_uri: redirectUri,
    scope: "openid profile email offline_access",
    state: "a/b+c=",
    code_challenge: challenge,
    code_challenge_method: "S256",
  });
  client.url = `${gateway}/oauth2/authorize?${query}`;
  return client;
}

async function redeem(client, code) {
  const response = await fetch(`${gateway}/oauth2/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: client.id,
      code,
      redirect_uri: client.redirectUri,
      code_verifier: client.verifier,
    }),
  });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

function arrived() {
  const answer = arrivals.pop();
  assert.ok(answer, "nobody came back to the client");
  assert.equal(answer.get("state"), "a/b+c=");
  assert.equal(answer.get("iss"), gateway);
  return answer;
}

// --- A person with a browser ---------------------------------------------------------

const here = `MAP ${new URL(SITE).host} 127.0.0.1:${website.address().port}`;
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", `--host-resolver-rules=${here}`],
});

/** Runs a part of the story as somebody with a fresh browser. */
async function person(what, story, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const complaints = [];
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      complaints.push(message.text());
    }
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  await context.exposeBinding("complain", (_, text) => complaints.push(text));
  await context.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (event) =>
      window.complain(`policy: ${event.violatedDirective} ${event.blockedURI}`),
    ),
  );
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await story(page, context, complaints);
  assert.deepEqual(complaints, [], what);
  await context.close();
  console.log(`  ✓ ${what}`);
}

const focused = (page) => page.evaluate(() => document.activeElement.textContent.trim());

await person("the page says who asks and where the code goes", async (page) => {
  const client = await register(LOOPBACK);
  const response = await page.goto(client.url);
  assert.equal(response.status(), 200);
  assert.match(await page.getByRole("heading", { level: 1 }).innerText(), QUESTION);
  for (const text of ["Nobody has checked the name", "This computer", LOOPBACK, "see your e-mail address"]) {
    assert.ok(await page.getByText(text).first().isVisible(), text);
  }
  assert.equal(await page.locator("script").count(), 0);
  assert.equal(await page.getByRole("checkbox").count(), 0, "loopback is asked about every time");
  // Its style is in force: the policy knows it.
  const width = await page.locator("main").evaluate((main) => main.getBoundingClientRect().width);
  assert.ok(width <= 480, `${width}`);
});

await person("who approves arrives with a code that becomes a token", async (page) => {
  const client = await register(LOOPBACK);
  await page.goto(client.url);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByText("You can close this window").waitFor();
  const tokens = await redeem(client, arrived().get("code"));
  assert.ok(tokens.access_token && tokens.refresh_token);
});

await person("who refuses arrives with an error", async (page) => {
  const client = await register(LOOPBACK);
  await page.goto(client.url);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("You can close this window").waitFor();
  const answer = arrived();
  assert.equal(answer.get("error"), "access_denied");
  assert.equal(answer.get("code"), null);
});

await person("the keyboard alone will do", async (page) => {
  const client = await register(SITE);
  await page.goto(client.url);
  await page.keyboard.press("Tab");
  const box = page.getByRole("checkbox");
  assert.ok(await box.evaluate((box) => box === document.activeElement));
  await page.keyboard.press("Space");
  assert.ok(await box.isChecked());
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "Continue");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "the focus can be seen");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "Cancel");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${SITE}**`);
  await redeem(client, new URL(page.url()).searchParams.get("code"));
  // The box was ticked: this website is not asked about again.
  await page.goto(client.url);
  await page.waitForURL(`${SITE}**`);
  const other = await register(SITE);
  await page.goto(other.url);
  assert.match(await page.getByRole("heading", { level: 1 }).innerText(), QUESTION);
});

await person("who cancels by keyboard has allowed nothing", async (page) => {
  const client = await register(LOOPBACK);
  await page.goto(client.url);
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(page), "Cancel");
  await page.keyboard.press("Enter");
  await page.getByText("You can close this window").waitFor();
  assert.equal(arrived().get("error"), "access_denied");
});

await person("an answer counts in the browser that was asked", async (page, context, complaints) => {
  const client = await register(LOOPBACK);
  await page.goto(client.url);
  await context.clearCookies();
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("heading", { name: "Sign-in cannot go on" }).waitFor();
  assert.equal(arrivals.length, 0);
  assert.ok(page.url().startsWith(`${gateway}/oauth2/consent`));
  assert.match(complaints.pop(), /status of 400/);
});

await person("the page cannot be framed", async (page, _, complaints) => {
  const client = await register(LOOPBACK);
  const frames = new URL(`/frame?${new URLSearchParams({ url: client.url })}`, LOOPBACK);
  await page.goto(frames.href);
  // What is refused becomes an error page of the browser's own.
  const refused = () => page.frames().some((frame) => frame.url().startsWith("chrome-error:"));
  for (let tries = 0; tries < 200 && !refused(); tries += 1) {
    await page.waitForTimeout(50);
  }
  assert.ok(refused(), page.frames().map((frame) => frame.url()).join("\n"));
  complaints.length = 0;
});

for (const colorScheme of ["light", "dark"]) {
  await person(`the page is read in ${colorScheme}`, async (page) => {
    const client = await register("http://localhost:3118/callback");
    await page.goto(client.url);
    // Text and what is behind it differ as WCAG 2.2 asks (1.4.3), on the card and on its buttons.
    const contrasts = await page.evaluate(() => {
      const parts = (color) => color.match(/[\d.]+/g).map(Number);
      const light = (color) => {
        const [r, g, b] = parts(color).map((part) => {
          const share = part / 255;
          return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const color = getComputedStyle(at).backgroundColor;
          if (parts(color)[3] !== 0) return color;
        }
        return "rgb(255, 255, 255)";
      };
      return [...document.querySelectorAll("h1,h2,p,li,button,code,span")].map((element) => {
        const [one, two] = [light(getComputedStyle(element).color), light(behind(element))];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        return [element.textContent.trim().slice(0, 30), ratio];
      });
    });
    for (const [text, ratio] of contrasts) {
      assert.ok(ratio >= 4.5, `${text}: ${ratio}`);
    }
    if (screenshots) {
      await page.screenshot({ path: join(screenshots, `consent-${colorScheme}.png`), fullPage: true });
    }
  }, { colorScheme, viewport: { width: 720, height: 860 }, deviceScaleFactor: 1 });
}

await person("the page fits a telephone", async (page) => {
  const client = await register("https://insiders.vscode.dev/redirect");
  await page.goto(client.url);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `${wide}`);
}, { viewport: { width: 320, height: 640 } });

await browser.close();
listener.close();
website.close();
console.log("the consent page works");
