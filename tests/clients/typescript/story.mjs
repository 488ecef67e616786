// What every client must be able to do through the gateway, told once. A client
// module opens connections; this file drives them and prints one line a step.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** No single step but the wait for a token's end may take longer. */
const STEP_MS = 30_000;
/** How long a notification may be under way before it is asked for again. */
const NOTIFICATION_MS = 2_000;
/** Steps of the tool that reports progress, and how long each takes. */
const STEPS = 5;
const STEP_DELAY_MS = 200;
/** The sample server's tools that the story calls. */
const TOOLS = ['echo', 'instance', 'notify', 'progress'];

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** Resolves once `condition()` holds, asked `every` so many ms; fails with `what` after `ms`. */
export async function until(condition, ms, what, every = 100) {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    check(Date.now() < deadline, `${what} did not happen within ${Math.round(ms / 1000)} s`);
    await sleep(every);
  }
}

/** The moment a JWT ends, in milliseconds since the epoch. */
export function expiry(jwt) {
  const { exp } = JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url').toString());
  check(Number.isInteger(exp), 'the access token has no `exp`');
  return exp * 1000;
}

/** Where the demo listens, from the file it wrote when it was ready. */
export function coordinates() {
  const file = process.argv[2];
  check(file, 'usage: node CLIENT.mjs READY_FILE');
  return JSON.parse(readFileSync(file, 'utf8'));
}

/** Runs the client's main function; a failure is one readable line and exit code 1. */
export async function main(name, run) {
  const step = async (title, action, ms = STEP_MS) => {
    const timer = new AbortController();
    const late = sleep(ms, undefined, { signal: timer.signal, ref: true }).then(() => {
      throw new Error(`no outcome within ${Math.round(ms / 1000)} s`);
    });
    late.catch(() => {});
    try {
      const detail = await Promise.race([action(), late]);
      console.log(`ok ${name}: ${title}${detail ? ` (${detail})` : ''}`);
    } catch (error) {
      error.message = `${title}: ${error.message}`;
      throw error;
    } finally {
      timer.abort();
    }
  };
  try {
    await run(step);
    process.exit(0);
  } catch (error) {
    console.error(error.stack);
    console.log(`FAILED ${name}: ${error.message.replaceAll('\n', ' ')}`);
    process.exit(1);
  }
}

/**
 * Steps every connection is taken through, whatever client made it. A connection that the
 * server offers no notifications to is not waited for.
 */
export async function useTools(step, workload, connection) {
  await step(`lists tools of ${workload}`, async () => {
    const names = await connection.listTools();
    for (const tool of TOOLS) check(names.includes(tool), `tool \`${tool}\` is missing in ${names}`);
    return `${names.length} tools`;
  });
  await step(`calls a tool of ${workload}`, async () => {
    const said = `grüße from ${workload}`;
    const heard = await connection.call('echo', { text: said });
    check(heard.includes(said), `echo answered \`${heard}\` instead of \`${said}\``);
  });
  await step(`sees progress of ${workload}`, async () => {
    const seen = [];
    let first;
    await connection.call('progress', { steps: STEPS, delay_ms: STEP_DELAY_MS }, ({ progress }) => {
      first ??= Date.now();
      seen.push(progress);
    });
    // The SDK drops the last one when it reads it together with the result.
    check(seen.length >= STEPS - 1, `${seen.length} progress notifications instead of ${STEPS}`);
    const ahead = Date.now() - first;
    check(ahead >= STEP_DELAY_MS, `progress came only ${ahead} ms before the result: it was held back`);
    return `${seen.length} notifications, the first ${ahead} ms before the result`;
  });
  if (connection.notifies()) await step(`is notified by ${workload}`, () => notified(connection));
}

/** Every call of a session must be answered by the replica which opened it. */
export async function staysOnOneReplica(step, workload, connection) {
  await step(`stays on one replica of ${workload}`, async () => {
    const instances = new Set();
    for (let call = 0; call < 6; call += 1) instances.add(await connection.call('instance', {}));
    check(instances.size === 1, `six calls were answered by ${[...instances].join(' and ')}`);
    return [...instances][0];
  });
}

/**
 * Asks the server for a notification until one arrives. Again and again, because
 * a client opens its stream in its own time and nothing replays what was sent
 * before it.
 */
export async function notified(connection, ms = STEP_MS) {
  const before = connection.notifications();
  const deadline = Date.now() + ms;
  for (;;) {
    await connection.call('notify', {});
    const next = Date.now() + NOTIFICATION_MS;
    while (Date.now() < next) {
      if (connection.notifications() > before) return;
      await sleep(20);
    }
    check(Date.now() < deadline, `no notification within ${Math.round(ms / 1000)} s`);
  }
}
