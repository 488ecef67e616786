// mcp-remote, as a desktop host runs it: a child process that speaks stdio here and
// signs in by itself, through a browser.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { getDefaultEnvironment, StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { text } from './sdk.mjs';
import { check, coordinates, main, staysOnOneReplica, until, useTools } from './story.mjs';

const PROXY = fileURLToPath(new URL('node_modules/mcp-remote/dist/proxy.js', import.meta.url));
const BROWSER = fileURLToPath(new URL('../browser/', import.meta.url));
/** mcp-remote renews a token in its last minute; the demo's tokens live for two of them and a bit. */
const REFRESH_MS = 120_000;

class Remote {
  #notified = 0;
  #client;
  #transport;

  constructor(url, ca, home) {
    this.home = home;
    this.browserLog = join(home, 'browser.log');
    this.#transport = new StdioClientTransport({
      command: process.execPath,
      args: [PROXY, url],
      env: {
        ...getDefaultEnvironment(),
        BROWSER: join(BROWSER, 'xdg-open'),
        BROWSER_LOG: this.browserLog,
        GATEWAY_CA: ca,
        HOME: home,
        MCP_REMOTE_CONFIG_DIR: home,
        NODE_EXTRA_CA_CERTS: ca,
        PATH: `${BROWSER}:${process.env.PATH}`,
      },
      stderr: 'inherit',
    });
    this.#client = new Client({ name: 'mcp-gateway-client-test', version: '1.0.0' });
    this.#client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
      this.#notified += 1;
    });
  }

  async connect() {
    await this.#client.connect(this.#transport);
    return this.#client.getServerVersion().name;
  }

  /** How often mcp-remote sent its user to the browser. */
  signIns() {
    return existsSync(this.browserLog) ? readFileSync(this.browserLog, 'utf8').trim().split('\n').length : 0;
  }

  /** The tokens as mcp-remote stores them, in one file below its configuration folder. */
  tokens() {
    const file = readdirSync(this.home, { recursive: true }).find((name) => name.endsWith('tokens.json'));
    check(file, 'mcp-remote stored no tokens');
    return JSON.parse(readFileSync(join(this.home, file), 'utf8'));
  }

  notifies() {
    return true;
  }

  notifications() {
    return this.#notified;
  }

  async listTools() {
    return (await this.#client.listTools()).tools.map((tool) => tool.name);
  }

  async call(name, args, onprogress) {
    return text(await this.#client.callTool({ name, arguments: args }, undefined, { onprogress }));
  }

  async end() {
    const { pid } = this.#transport;
    await this.#client.close();
    await until(() => !alive(pid), 5_000, 'the end of the mcp-remote process');
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

await main('mcp-remote', async (step) => {
  const { ca, mcp } = coordinates();
  for (const url of mcp) {
    const workload = new URL(url).pathname;
    const home = mkdtempSync(join(tmpdir(), 'mcp-remote-'));
    try {
      const remote = new Remote(url, ca, home);
      await step(`signs in at ${workload}`, async () => {
        const server = await remote.connect();
        // The browser may say how it ended after mcp-remote has its code.
        await until(() => remote.signIns() > 0, 30_000, 'the end of the visit in the browser');
        check(remote.signIns() === 1, `the user was sent to the browser ${remote.signIns()} times`);
        check(remote.tokens().refresh_token, 'the token answer has no refresh token');
        return server;
      });
      const token = remote.tokens().access_token;
      await useTools(step, workload, remote);
      await staysOnOneReplica(step, workload, remote);
      await step(
        `refreshes the token of ${workload}`,
        async () => {
          await until(
            async () => {
              await remote.call('echo', { text: 'still here' });
              return remote.tokens().access_token !== token;
            },
            REFRESH_MS,
            'a refresh',
            1_000,
          );
          check(remote.signIns() === 1, `the user was sent to the browser ${remote.signIns()} times`);
        },
        REFRESH_MS + 5_000,
      );
      await step(`ends its connection to ${workload}`, () => remote.end());
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  }
});
