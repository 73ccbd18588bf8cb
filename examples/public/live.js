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

function showStatus(state, text) {
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
