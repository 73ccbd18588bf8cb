// A lookout: asks other servers every few seconds whether they are there, and tells all open pages.
//
//   python aiwebengine.py examples/ --allow-net "*"
//
// Scripts may ask no other server unless --allow-net opens it: one host, a host with its port such as
// localhost:8080, or "*" for all of the internet. To ask for anything else fails with an error that names the
// option, and the page shows it.

const PERIOD = 10_000, PATIENCE = 3000, MOST = 12, KEPT = 30;
const watched = new Map(); // by address: the last checks, the newest at the end

routeRegistry.registerStreamRoute("/lookout/events", "begin");
routeRegistry.registerRoute("/lookout", "add", "POST");
routeRegistry.registerRoute("/lookout", "remove", "DELETE");

const list = () => [...watched].map(([url, checks]) => ({ url, checks }));
const tellAll = () => routeRegistry.sendStreamMessage("/lookout/events", list());

// Nobody is asked while nobody looks.
setInterval(() => {
  if (JSON.parse(routeRegistry.listConnections("/lookout/events")).length) for (const url of watched.keys()) check(url);
}, PERIOD);

function begin({ connection }) {
  connection.send(list());
  return {};
}

async function add({ request }) {
  const address = request.form.url?.trim();
  const url = URL.parse(/^https?:/.test(address) ? address : `https://${address}`)?.href;
  if (!address || !url) return { status: 400, body: "Please give an address, such as https://example.org/." };
  if (watched.size >= MOST && !watched.has(url)) return { status: 400, body: `${MOST} are enough. Remove one first.` };
  if (!watched.has(url)) watched.set(url, []);
  return Response.json(await check(url)); // as it is: its `status` is not that of this answer
}

function remove({ request }) {
  if (!watched.delete(request.query.url)) return { status: 404, body: "That is not on the list." };
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
  const checks = watched.get(url); // it may have been removed meanwhile
  if (checks) {
    watched.set(url, [...checks, found].slice(-KEPT));
    tellAll();
  }
  return found;
}
