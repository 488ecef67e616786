// The official TypeScript SDK 2.x. It probes for the sessionless protocol first
// and falls back to the handshake, as programs built on it are told to.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

import { story, text } from './sdk.mjs';

async function connect(url, authProvider) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  let notifications = 0;
  const client = new Client(
    { name: 'mcp-gateway-client-test', version: '1.0.0' },
    {
      versionNegotiation: { mode: 'auto' },
      listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => (notifications += 1) } },
    },
  );
  client.onerror = (error) => console.error(`client: ${error.message}`);
  await client.connect(transport);
  return {
    server: () => client.getServerVersion().name,
    protocol: () => client.getNegotiatedProtocolVersion(),
    sessionId: () => transport.sessionId,
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

async function finish(url, authProvider) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  await transport.finishAuth(authProvider.callbackParams);
}

await story('typescript-2', { connect, finish, Unauthorized: UnauthorizedError });
