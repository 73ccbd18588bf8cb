// Notifications by role: one stream for the whole restaurant, and each notice reaches only
// the people it is for.
//
// The browser shows a badge; the server looks up who that is. Because onConnect decides the
// metadata, nobody becomes a manager by writing ?role=manager into the address bar.

const STAFF = new Map([
  ["badge-101", { name: "Ana", role: "kitchen" }],
  ["badge-102", { name: "Bo", role: "kitchen" }],
  ["badge-201", { name: "Chidi", role: "floor" }],
  ["badge-301", { name: "Dara", role: "manager" }],
]);
const PEOPLE = [...STAFF.values()];
const LEVELS = ["info", "warning", "urgent"];

routeRegistry.registerStreamRoute("/notify/events", "checkBadge");
routeRegistry.registerRoute("/notify/staff", "listStaff");
routeRegistry.registerRoute("/notify/send", "sendNotice", "POST");

// false refuses the connection with 403. Anything else is the connection's metadata.
const checkBadge = ({ request }) => STAFF.get(request.query.badge) ?? false;

// The page needs the badges to let you try every role. A real site would keep them secret,
// and read who you are from a cookie that was set at login.
const listStaff = () => [...STAFF].map(([badge, person]) => ({ badge, ...person }));

// An audience is "everyone", "role:kitchen" or "name:Ana". It becomes the filter.
function filterFor(audience = "") {
  const [kind, value] = audience.split(":");
  if (kind === "everyone") return {};
  if (kind === "role" && PEOPLE.some(({ role }) => role === value)) return { role: value };
  if (kind === "name" && PEOPLE.some(({ name }) => name === value)) return { name: value };
  return null;
}

function sendNotice({ request }) {
  const { audience, level = "info", text = "" } = request.form;
  const filter = filterFor(audience);
  if (!filter) return { status: 400, body: "Who is it for? Choose everyone, a role or a person." };
  if (!LEVELS.includes(level)) return { status: 400, body: `The level is one of: ${LEVELS.join(", ")}.` };
  if (!text.trim()) return { status: 400, body: "Please write the notice first." };

  const notice = { type: "notice", level, audience, text: text.trim(), time: new Date().toISOString() };
  const result = routeRegistry.sendStreamMessageFiltered("/notify/events", notice, JSON.stringify(filter));
  console.info(`notice for ${audience}: ${result}`);
  return result;
}

// Another script, reminders.js, says when something is due; whoever is here hears of it. Listeners are called in each
// process (--workers), but a message on a stream reaches the clients of all: one process sends it.
dispatcher.registerListener("reminder.due", ({ data: { text }, meta }) => {
  if (meta.worker !== 0) return;
  const notice = { type: "notice", level: "info", audience: "everyone", text: `Reminder: ${text}`, time: new Date().toISOString() };
  routeRegistry.sendStreamMessage("/notify/events", notice);
});
