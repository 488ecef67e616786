// Asks Codex's app server, over stdio, for the MCP servers that it knows: it connects to each
// and lists the tools. Prints one line for each server.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const codex = spawn('codex', ['app-server'], { stdio: ['pipe', 'pipe', 'inherit'] });

function send(message) {
  codex.stdin.write(`${JSON.stringify(message)}\n`);
}

async function answer(id) {
  for await (const line of createInterface({ input: codex.stdout })) {
    const message = JSON.parse(line);
    if (message.id === id && 'result' in message) return message.result;
    if (message.id === id) throw new Error(JSON.stringify(message.error));
  }
  throw new Error('the app server ended before it answered');
}

send({ id: 1, method: 'initialize', params: { clientInfo: { name: 'test', version: '1' } } });
send({ method: 'initialized' });
send({ id: 2, method: 'mcpServerStatus/list', params: { detail: 'toolsAndAuthOnly' } });
const { data } = await answer(2);
for (const { name, authStatus, serverInfo, tools } of data) {
  const status = serverInfo
    ? `connected, ${Object.keys(tools).length} tools`
    : authStatus === 'notLoggedIn'
      ? 'needs a sign-in'
      : 'cannot connect';
  console.log(`${name}: ${status}`);
}
codex.kill();
