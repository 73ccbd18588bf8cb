// A chat with rooms and private messages.
//
// Everybody is connected to the same stream, over a WebSocket, which also carries what they write: one connection
// for both ways. Who gets which message is decided when it is sent: a filter is compared with the metadata of each
// connection, and all of it must match.

const ROOMS = ["lobby", "garden", "workshop"];
const MAX_TEXT = 500;
const MAX_NAME = 24;

routeRegistry.registerStreamRoute("/chat/events", { onConnect: "join", onMessage: "hear" });
routeRegistry.registerRoute("/chat/rooms", "listRooms");
routeRegistry.registerRoute("/chat/send", "send", "POST");

const refuse = (reason) => ({ status: 400, body: reason });
const tidyName = (name) => String(name ?? "").trim().slice(0, MAX_NAME);
const deliver = (filter, message) =>
  routeRegistry.sendStreamMessageFiltered("/chat/events", message, JSON.stringify(filter));

// Called when a browser connects, before anything is sent to it. The object returned here
// becomes the connection's metadata; an answer with a status of 400 or more refuses the connection.
function join({ request }) {
  const { room } = request.query;
  const name = tidyName(request.query.name);
  if (!name) return refuse("Please say who you are: ?name=…");
  if (!ROOMS.includes(room)) return refuse(`There is no such room. Try one of: ${ROOMS.join(", ")}.`);

  // A page that only reconnects sends the id of the last event it saw. Then nobody new has arrived.
  if (!request.headers["last-event-id"] && !request.query.lastEventId) {
    deliver({ room }, { type: "notice", room, text: `${name} came in.` });
  }
  return { name, room };
}

function listRooms() {
  return ROOMS;
}

// Called for what a page sends over its WebSocket. Who writes, and where, is known since it came in, so that
// nobody can write in another's name. The answer is for this page alone.
function hear({ connection, json }) {
  const { name, room } = connection.metadata;
  const answer = say(name, room, json ?? {});
  const sent = typeof answer === "string";
  connection.send({ ok: sent, text: sent ? answer : answer.body }, { event: "answer" });
}

// The same with POST: for pages behind a proxy that lets no WebSocket through, and for curl.
function send({ request: { form } }) {
  return say(tidyName(form.from), form.room, form);
}

function say(from, room, fields) {
  const text = String(fields.text ?? "").trim();
  const to = tidyName(fields.to);
  if (!from) return refuse("Please say who you are.");
  if (!text) return refuse("There is nothing to send.");
  if (text.length > MAX_TEXT) return refuse(`Please keep it under ${MAX_TEXT} characters.`);

  const message = { from, text, time: new Date().toISOString() };
  if (!to) {
    if (!ROOMS.includes(room)) return refuse("There is no such room.");
    return deliver({ room }, { type: "room", room, ...message });
  }

  // A private message goes to every window of the receiver, in whichever room that is,
  // and to the sender's own windows, so that both can read the conversation.
  const result = deliver({ name: to }, { type: "private", to, ...message });
  if (to !== from) deliver({ name: from }, { type: "private", to, ...message });
  return result;
}
