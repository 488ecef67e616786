// The official TypeScript SDK 1.x.

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { story, text } from './sdk.mjs';

async function connect(url, authProvider) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  const client = new Client({ name: 'mcp-gateway-client-test', version: '1.0.0' });
  let notifications = 0;
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    notifications += 1;
  });
  client.onerror = (error) => console.error(`client: ${error.message}`);
  await client.connect(transport);
  return {
    server: () => client.getServerVersion().name,
    protocol: () => transport.protocolVersion,
    sessionId: () => transport.sessionId,
    notifies: () => true,
    notifications: () => notifications,
    listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, args, onprogress) =>
      text(await client.callTool({ name, arguments: args }, undefined, { onprogress })),
    end: async () => {
      await transport.terminateSession();
      await client.close();
    },
  };
}

async function finish(url, authProvider) {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  await transport.finishAuth(authProvider.callbackParams.get('code'));
}

await story('typescript-1', { modes: ['legacy'], connect, finish, Unauthorized: UnauthorizedError });
