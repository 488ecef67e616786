// The story of a program built on the official TypeScript SDK, the same for both
// generations: `connect` is what differs between them.

import { setTimeout as sleep } from 'node:timers/promises';

import { SignIn } from './signin.mjs';
import { check, coordinates, expiry, main, notified, staysOnOneReplica, useTools } from './story.mjs';

/** Longest token lifetime the demo is started with, and some more. */
const EXPIRY_MS = 150_000;

/**
 * `connect(url, signIn, mode)` resolves to a connection, or throws `Unauthorized` after the
 * browser step; `finish(url, signIn)` then redeems the code. `modes` are the ways in which the
 * SDK can open a connection, and each is taken to each workload.
 */
export function story(name, { modes, connect, finish, Unauthorized }) {
  return main(name, async (step) => {
    const { mcp } = coordinates();
    const open = [];
    for (const url of mcp) {
      for (const mode of modes) {
        const path = new URL(url).pathname;
        const workload = modes.length > 1 ? `${path} (${mode})` : path;
        const signIn = await SignIn.start();
        let connection;
        await step(`signs in at ${workload}`, async () => {
          try {
            await connect(url, signIn, mode);
            throw new Error('the gateway let a client in without a token');
          } catch (error) {
            if (!(error instanceof Unauthorized)) throw error;
          }
          await finish(url, signIn);
          connection = await connect(url, signIn, mode);
          check(signIn.tokens()?.refresh_token, 'the token answer has no refresh token');
          const silent = connection.notifies() ? '' : ', which offers no notifications';
          return `${connection.server()}, ${connection.protocol()}${silent}`;
        });
        await useTools(step, workload, connection);
        if (connection.sessionId()) await staysOnOneReplica(step, workload, connection);
        open.push({ url, workload, signIn, connection, token: signIn.tokens().access_token });
      }
    }

    for (const { workload, signIn, connection, token } of open) {
      await step(
        `refreshes an expired token of ${workload}`,
        async () => {
          const wait = expiry(token) + 1_000 - Date.now();
          if (wait > 0) await sleep(wait);
          const heard = await connection.call('echo', { text: 'still here' });
          check(heard.includes('still here'), `echo answered \`${heard}\``);
          check(signIn.tokens().access_token !== token, 'the token is still the old one');
          check(signIn.signIns === 1, `the user was sent to the browser ${signIn.signIns} times`);
        },
        EXPIRY_MS,
      );
      if (connection.notifies()) {
        await step(`is notified by ${workload} after the refresh`, () => notified(connection));
      }
    }

    for (const { url, workload, signIn, connection } of open) {
      const session = connection.sessionId();
      await step(`ends its session with ${workload}`, async () => {
        await connection.end();
        if (!session) return 'nothing to end: this protocol has no sessions';
        const status = await callWithin(session, url, signIn.tokens().access_token, connection.protocol());
        check(status === 404, `the ended session was answered with status ${status} instead of 404`);
        return 'its id is refused afterwards';
      });
      signIn.close();
    }
  });
}

/** Status of a call that names `session`, made beside the SDK. */
async function callWithin(session, url, token, protocol) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      accept: 'application/json, text/event-stream',
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'mcp-protocol-version': protocol,
      'mcp-session-id': session,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    signal: AbortSignal.timeout(10_000),
  });
  await response.body?.cancel();
  return response.status;
}

/** Text of a tool result; an error result is an error. */
export function text(result) {
  const said = result.content.map((part) => part.text ?? '').join('');
  check(!result.isError, `the tool failed: ${said}`);
  return said;
}
