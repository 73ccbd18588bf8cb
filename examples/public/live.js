// What all the example pages need in the browser: open a stream and say how it is doing,
// post a form, make an element.

// An EventSource whose connection is shared by all tabs: a browser opens only six to one server.
import { SharedEventSource } from "/engine/stream.js";

/**
 * Opens a stream. The metadata goes into the URL; each message arrives as an object.
 * The element with the id "status" always tells the reader whether the page is live.
 */
export function openStream(path, metadata, onMessage, onOpen = () => {}) {
  const source = new SharedEventSource(`${path}?${new URLSearchParams(metadata)}`);
  showStatus("waiting", "Connecting…");
  source.onopen = () => {
    showStatus("live", "Live");
    onOpen();
  };
  source.onerror = () => {
    // The browser reconnects by itself, except when the server turned it away.
    const refused = source.readyState === source.CLOSED;
    if (refused) showStatus("closed", "Refused");
    else showStatus("waiting", "Connection lost, trying again…");
  };
  source.onmessage = (event) => onMessage(JSON.parse(event.data));
  return source;
}

/**
 * Opens a stream in both directions, over one WebSocket: what `send` gets goes to the stream's `onMessage`, which
 * answers with an event "answer". Where no WebSocket gets through, messages arrive as events instead, and what is
 * sent is posted to `postPath`.
 */
export function openTalk(path, metadata, { onMessage, onAnswer, postPath }) {
  let socket, source, lastEventId, worked = false, wanted = true;
  function connect() {
    const query = new URLSearchParams({ ...metadata, ...(lastEventId && { lastEventId }) });
    socket = new WebSocket(`${location.origin.replace("http", "ws")}${path}?${query}`);
    socket.onopen = () => {
      worked = true;
      showStatus("live", "Live");
    };
    socket.onmessage = (message) => {
      const { id, event, data } = JSON.parse(message.data);
      lastEventId = id ?? lastEventId;        // with it the server knows what to send after a pause
      if (event === "answer") onAnswer(data);
      else if (event === "message") onMessage(data);
    };
    socket.onclose = () => {
      if (!wanted) return;
      if (!worked) return source = openStream(path, metadata, onMessage);
      showStatus("waiting", "Connection lost, trying again…");
      setTimeout(() => wanted && connect(), 1000);
    };
  }
  showStatus("waiting", "Connecting…");
  connect();
  return {
    async send(fields) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(fields));
      else onAnswer(await post(postPath, fields));
    },
    close() {
      wanted = false;
      (source ?? socket).close();
    },
  };
}

export function showStatus(state, text) {
  const status = document.querySelector("#status");
  status.dataset.state = state;
  status.textContent = text;
}

/** Sends the fields as a form. The answer tells whether it worked, and what the server said. */
export async function post(path, fields) {
  try {
    const response = await fetch(path, { method: "POST", body: new URLSearchParams(fields) });
    return { ok: response.ok, text: await response.text() };
  } catch {
    return { ok: false, text: "The server does not answer." };
  }
}

export async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

/** Makes an element. Text is set as text, so nothing that a user wrote can become markup. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

export const timeOf = (iso) =>
  new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
