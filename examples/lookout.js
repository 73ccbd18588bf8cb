// A lookout: asks other servers every few seconds whether they are there, and tells all open pages.
//
//   python aiwebengine.py examples/ --allow-net "*"
//
// Scripts may ask no other server unless --allow-net opens it: one host, a host with its port such as
// localhost:8080, or "*" for all of the internet (but not what is behind your own router). To ask for anything else fails with an error that names the
// option, and the page shows it.

const PERIOD = 10_000, PATIENCE = 3000, MOST = 12, KEPT = 30;

// What is watched: { url, checks }, each with its last checks, the newest at the end. All processes of the server share it,
// and update() is one step even if two of them change it at once.
const list = () => sharedStorage.getJSON("watched") ?? [];
const change = (edit) => sharedStorage.update("watched", (known) => edit(known ?? []));

routeRegistry.registerStreamRoute("/lookout/events", "begin");
routeRegistry.registerRoute("/lookout", "add", "POST");
routeRegistry.registerRoute("/lookout", "remove", "DELETE");

const tellAll = () => routeRegistry.sendStreamMessage("/lookout/events", list());

// Nobody is asked while nobody looks, and of several processes (--workers) one asks.
function init({ meta }) {
  if (meta.worker === 0) setInterval(() => {
    if (JSON.parse(routeRegistry.listConnections("/lookout/events")).length) for (const { url } of list()) check(url);
  }, PERIOD);
}

function begin({ connection }) {
  connection.send(list());
  return {};
}

async function add({ request }) {
  const address = request.form.url?.trim();
  const url = URL.parse(/^https?:/.test(address) ? address : `https://${address}`)?.href;
  if (!address || !url) return { status: 400, body: "Please give an address, such as https://example.org/." };
  const known = change((all) => all.length >= MOST || all.some((one) => one.url === url) ? all : [...all, { url, checks: [] }]);
  if (!known.some((one) => one.url === url)) return { status: 400, body: `${MOST} are enough. Remove one first.` };
  return Response.json(await check(url)); // as it is: its `status` is not that of this answer
}

function remove({ request }) {
  const { url } = request.query;
  if (!list().some((one) => one.url === url)) return { status: 404, body: "That is not on the list." };
  change((all) => all.filter((one) => one.url !== url));
  tellAll();
}

/** Asks once, notes what came of it, and returns that. The script serves others while it waits. */
async function check(url) {
  const began = Date.now();
  const found = { at: began, ok: false };
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) });
    const text = await response.text();
    found.ok = response.ok;
    found.status = response.status;
    found.title = /<title[^>]*>([^<]*)/i.exec(text)?.[1].trim().slice(0, 80);
  } catch (error) {
    found.problem = error.name === "TimeoutError" ? `no answer within ${PATIENCE / 1000} seconds` : error.message;
  }
  found.ms = Date.now() - began;
  change((all) => all.map((one) => one.url === url ? { url, checks: [...one.checks, found].slice(-KEPT) } : one));
  tellAll();
  return found;
}
