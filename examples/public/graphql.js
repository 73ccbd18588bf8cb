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
