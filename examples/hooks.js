// A webhook receiver: other programs POST to /hooks/in/<source>, and every open page shows
// at once what came in.
//
//   python aiwebengine.py examples/ --env HOOK_TOKEN
//
// takes the token from the environment: a secret does not belong into a script. Nothing that the server logs or shows
// has it in it.

const TOKEN = new TextEncoder().encode(env.HOOK_TOKEN ?? "let-me-in"); // senders must know it
const KEEP = 20;
const recent = []; // newest first

routeRegistry.registerStreamRoute("/hooks/events");
routeRegistry.registerRoute("/hooks/recent", () => recent);
routeRegistry.registerRoute("/hooks/in/:source", "receive", "POST");

// JSON if it is JSON, the fields if it is a form, otherwise the text as it came. (JSON with a
// mistake in it does not get here: the server answers 400.)
function readPayload({ headers, json, form, body }) {
  const type = headers["content-type"] ?? "";
  if (type.includes("json")) return json;
  return Object.keys(form ?? {}).length > 0 ? form : body;
}

function receive({ request }) {
  const { source } = request.params;
  const token = request.headers["x-hook-token"] ?? request.query.token;
  const given = new TextEncoder().encode(token ?? "");
  if (given.length !== TOKEN.length || !crypto.timingSafeEqual(given, TOKEN)) {
    console.warn(`hook from ${source} refused: wrong or missing token`);
    return { status: 401, body: { error: "Send the token as X-Hook-Token header, or as ?token=…" } };
  }

  const payload = readPayload(request);
  const hook = {
    type: "hook",
    id: crypto.randomUUID(),
    source,
    event: request.headers["x-event"] ?? payload?.event ?? payload?.action ?? "(unnamed)",
    payload,
    time: new Date().toISOString(),
  };
  recent.unshift(hook);
  recent.splice(KEEP);
  routeRegistry.sendStreamMessage("/hooks/events", hook);
  return { status: 202, body: { received: hook.id } };
}
