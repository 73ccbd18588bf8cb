// GraphQL in the browser, with nothing to install: fetch, and an event stream for subscriptions.

/** Runs a query or mutation. Gives its data; throws an Error with the messages of the server. */
export async function graphql(query, variables = {}) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/graphql-response+json" },
    body: JSON.stringify({ query, variables }),
  }).catch(() => { throw new Error("The server does not answer."); });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors.map((error) => error.message).join(" "));
  return data;
}

/** What openStream() of live.js needs to subscribe: the path and the parameters of its URL. */
export const subscription = (query, variables = {}) => ["/graphql/sse", { query, variables: JSON.stringify(variables) }];

/**
 * GraphQL over one WebSocket, in the protocol graphql-transport-ws, which npm's graphql-ws, Apollo and urql speak, too.
 * It gives a function that begins a query, mutation or subscription: onResult gets { data, errors }, again and again from
 * a subscription; what that returns ends it. `onOpen` is called for each connection: the first, and those after a loss.
 */
export function openGraphQL(onOpen, onLost) {
  const waiting = new Map(); // id of an operation -> onResult
  let socket, count = 0;
  function send(message) {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(message));
    return true;
  }

  function connect() {
    socket = new WebSocket(`${location.origin.replace("http", "ws")}/graphql`, "graphql-transport-ws");
    socket.onopen = () => send({ type: "connection_init" });
    socket.onmessage = ({ data }) => {
      const { type, id, payload } = JSON.parse(data);
      if (type === "connection_ack") onOpen();
      else if (type === "ping") send({ type: "pong" });
      else if (type === "next") waiting.get(id)?.(payload);
      else if (type === "error") waiting.get(id)?.({ errors: payload });
      if (type === "complete" || type === "error") waiting.delete(id);
    };
    socket.onclose = () => {
      const lost = [...waiting.values()];
      waiting.clear();
      lost.forEach((onResult) => onResult({ errors: [{ message: "The connection was lost." }] }));
      onLost();
      setTimeout(connect, 1000);
    };
  }
  connect();
  return function run(query, variables, onResult) {
    const id = String(++count);
    waiting.set(id, onResult);
    if (!send({ type: "subscribe", id, payload: { query, variables } })) {
      waiting.delete(id);
      onResult({ errors: [{ message: "The server does not answer." }] });
    }
    return () => waiting.delete(id) && send({ type: "complete", id });
  };
}
