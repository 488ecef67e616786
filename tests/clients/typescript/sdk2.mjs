// The official TypeScript SDK 2.x, in both of its ways: `auto` probes for the sessionless
// protocol as programs built on it are told to, `legacy` opens with a handshake.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

import { story, text } from './sdk.mjs';

/** JSON-RPC's code for a method that the server does not have. */
const METHOD_NOT_FOUND = -32_601;

async function connect(url, authProvider, mode) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  const client = new Client(
    { name: 'mcp-gateway-client-test', version: '1.0.0' },
    { versionNegotiation: { mode } },
  );
  let notifications = 0;
  client.setNotificationHandler('notifications/tools/list_changed', () => {
    notifications += 1;
  });
  client.onerror = (error) => console.error(`client: ${error.message}`);
  await client.connect(transport);
  const notifies = client.getProtocolEra() === 'legacy' || (await subscribe(client));
  return {
    server: () => client.getServerVersion().name,
    protocol: () => client.getNegotiatedProtocolVersion(),
    sessionId: () => transport.sessionId,
    notifies: () => notifies,
    notifications: () => notifications,
    listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, args, onprogress) =>
      text(await client.callTool({ name, arguments: args }, { onprogress })),
    end: async () => {
      await transport.terminateSession();
      await client.close();
    },
  };
}

/**
 * Asks for notifications, which the sessionless protocol does not send unasked. Asks again
 * whenever the stream ends, as the SDK leaves to its user. False if the server has none.
 */
async function subscribe(client) {
  const listen = () => client.listen({ toolsListChanged: true });
  let subscription;
  try {
    subscription = await listen();
  } catch (error) {
    if (error.code === METHOD_NOT_FOUND) return false;
    throw error;
  }
  const keepListening = async () => {
    while ((await subscription.closed) !== 'local') subscription = await listen();
  };
  keepListening().catch((error) => console.error(`subscription: ${error.message}`));
  return true;
}

async function finish(url, authProvider) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  await transport.finishAuth(authProvider.callbackParams);
}

await story('typescript-2', { modes: ['auto', 'legacy'], connect, finish, Unauthorized: UnauthorizedError });
