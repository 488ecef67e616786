// The OAuth side of a headless client: a loopback callback listener, a browser
// that is one plain HTTP GET, and a provider which keeps its credentials in
// memory and counts what happened. Serves both generations of the TypeScript
// SDK, whose provider interfaces agree in every member used here.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

/** How long one sign-in may take from the browser's first request to the callback. */
const SIGN_IN_MS = 30_000;

/** Listens where the authorization server redirects to and keeps the parameters it gets. */
class Callback {
  static async listen() {
    const callback = new Callback();
    callback.received = new Promise((resolve) => {
      callback.server = createServer((request, response) => {
        const url = new URL(request.url, 'http://localhost');
        if (url.pathname !== '/callback') {
          response.writeHead(404).end();
          return;
        }
        response.end('signed in');
        resolve(url.searchParams);
      });
    });
    await new Promise((resolve, reject) => {
      callback.server.once('error', reject);
      callback.server.listen(0, 'localhost', resolve);
    });
    return callback;
  }

  get url() {
    return `http://localhost:${this.server.address().port}/callback`;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** An `OAuthClientProvider` whose user approves at once. */
export class SignIn {
  #callback;
  #client;
  #tokens;
  #verifier;
  #state;
  #discovery;
  /** How often the user had to go to the browser. */
  signIns = 0;
  /** Parameters of the last callback, for `finishAuth`. */
  callbackParams;

  static async start() {
    const signIn = new SignIn();
    signIn.#callback = await Callback.listen();
    return signIn;
  }

  close() {
    this.#callback.close();
  }

  get redirectUrl() {
    return this.#callback.url;
  }

  get clientMetadata() {
    return {
      client_name: 'mcp-gateway client test',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state() {
    this.#state = randomUUID();
    return this.#state;
  }

  clientInformation() {
    return this.#client;
  }

  saveClientInformation(client) {
    this.#client = client;
  }

  tokens() {
    return this.#tokens;
  }

  saveTokens(tokens) {
    this.#tokens = tokens;
  }

  saveCodeVerifier(verifier) {
    this.#verifier = verifier;
  }

  codeVerifier() {
    return this.#verifier;
  }

  saveDiscoveryState(discovery) {
    this.#discovery = discovery;
  }

  discoveryState() {
    return this.#discovery;
  }

  async redirectToAuthorization(url) {
    this.signIns += 1;
    const response = await fetch(url, { signal: AbortSignal.timeout(SIGN_IN_MS) });
    const page = await response.text();
    if (!response.ok || page !== 'signed in') {
      throw new Error(
        `the browser ended at ${new URL(response.url).origin}${new URL(response.url).pathname} ` +
          `with status ${response.status} instead of at the callback`,
      );
    }
    this.callbackParams = await this.#callback.received;
    const error = this.callbackParams.get('error');
    if (error) {
      throw new Error(`sign-in failed: ${error}: ${this.callbackParams.get('error_description')}`);
    }
    if (this.callbackParams.get('state') !== this.#state) {
      throw new Error('the callback carried another state than the authorization request');
    }
  }
}
