// A charging station by another author: the npm package `ocpp-rpc` in strict mode. Its own schemas judge every
// message of the gateway, and its own ones.
//
// In, one JSON object a line:
//   {"url", "identity", "password", "protocols"}  first; the url ends before the identity
//   {"call": action, "payload"}                   asks the gateway
//   {"expect": action, "reply"}                   from now on answers the gateway's calls of that action so
// Out, one JSON object a line, for each line in:
//   {"connected": protocol}   {"call", "reply"}   {"call", "error": {"code", "message"}}   {"expect"}
// and at any time:
//   {"heard": action, "request", "refused"}       a call of the gateway; refused: nobody expects it
//   {"failure": {"sender", "action", "message", "body"}}  a message that breaks the schema, or no OCPP at all
//   {"closed": {"code", "reason"}}
// Exit code 1: it could not connect, or somebody failed; else 0. The end of the input closes the connection.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Packages lie in the cache, where the usual resolution of ES modules does not look.
const load = createRequire(`${process.env.BACKSTOP_NODE_MODULES}/`);
const { RPCClient, createRPCError, createValidator } = load("ocpp-rpc");

const CALL_TIMEOUT_MS = 10_000;

// ocpp-rpc 2.2.1 names the schemas of 2.1 as OCA does (urn:ActionRequest) and looks for urn:Action.req, so that
// strict mode finds none of them (its pull request 94). The schemas themselves are used as they are.
function validatorOf21() {
  const schemas = load("ocpp-rpc/lib/schemas/ocpp2_1.json").map((schema) => ({
    ...schema,
    $id: schema.$id.replace(/Request$/, ".req").replace(/Response$/, ".conf"),
  }));
  return createValidator("ocpp2.1", schemas);
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function fail(failure) {
  process.exitCode = 1;
  say({ failure });
}

function station({ url, identity, password, protocols }) {
  const client = new RPCClient({
    endpoint: url,
    identity,
    password,
    protocols,
    strictMode: true,
    strictModeValidators: [validatorOf21()],
    reconnect: false,
    callTimeoutMs: CALL_TIMEOUT_MS,
  });
  client.on("strictValidationFailure", ({ outbound, method, isCall, params, result, error }) =>
    fail({
      sender: outbound ? "station" : "gateway",
      action: method,
      message: `${error.rpcErrorCode}: ${error.message}`,
      body: isCall ? params : result,
    }),
  );
  client.on("badMessage", ({ buffer, error }) =>
    fail({ sender: "gateway", action: "", message: error.message, body: buffer.toString() }),
  );
  client.on("close", (closed) => say({ closed }));
  return client;
}

async function call(client, { call: action, payload }) {
  try {
    say({ call: action, reply: await client.call(action, payload) });
  } catch (error) {
    say({ call: action, error: { code: error.rpcErrorCode ?? error.name, message: error.message } });
  }
}

function expect(client, { expect: action, reply }) {
  client.handle(action, ({ params }) => {
    say({ heard: action, request: params, refused: false });
    return reply;
  });
  say({ expect: action });
}

async function main() {
  let client;
  for await (const line of createInterface({ input: process.stdin })) {
    const step = JSON.parse(line);
    if (client === undefined) {
      client = station(step);
      // A handler for all that nobody expects: without one strict mode would not look at them.
      client.handle(({ method, params }) => {
        say({ heard: method, request: params, refused: true });
        throw createRPCError("NotSupported", "not part of this scenario");
      });
      await client.connect();
      say({ connected: client.protocol });
    } else if ("call" in step) {
      await call(client, step);
    } else {
      expect(client, step);
    }
  }
  await client?.close({ awaitPending: true });
}

main().catch((error) => {
  fail({ sender: "station", action: "", message: String(error), body: null });
  process.exit();
});
