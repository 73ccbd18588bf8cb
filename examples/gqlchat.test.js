const say = (room, text, author = "Ada") =>
  graphql(
    "mutation ($room: String!, $author: String!, $text: String!) { say(room: $room, author: $author, text: $text) { id } }",
    { room, author, text },
  );
const listen = (room) =>
  subscribe("subscription ($room: String!) { messages(room: $room) { author text } }", { room });

test("a subscription carries the messages of its room, with the fields it asked for", async () => {
  const bakery = listen("bakery");
  const harbour = listen("harbour");

  const { data } = await say("bakery", "Fresh bread!");
  assert.ok(data.say.id);

  const first = await bakery.next();
  assert.deepEqual(first.data, { data: { messages: { author: "Ada", text: "Fresh bread!" } } });
  assert.equal(harbour.messages.length, 0);
});

test("the history is kept by room", async () => {
  await say("library", "One");
  await say("library", "Two");
  await say("library", "Three");
  const { data } = await graphql('{ history(room: "library", last: 2) { text } }');
  assert.deepEqual(data.history.map(({ text }) => text), ["Two", "Three"]);
});

test("what a resolver throws arrives as an error", async () => {
  const { errors } = await say("attic", "Anybody there?");
  assert.match(errors[0].message, /no room "attic"/);
  const refused = listen("attic");
  assert.match((await refused.next()).data.errors[0].message, /no room "attic"/);
});

// What the page does, and npm's graphql-ws: queries, mutations and subscriptions over one WebSocket.
test("one WebSocket carries a subscription and a mutation", async () => {
  const page = connect("/graphql", { websocket: "graphql-transport-ws" });
  const answer = async () => (await page.next()).data;
  const run = (id, query) => page.send({ type: "subscribe", id, payload: { query } });

  page.send({ type: "connection_init" });
  assert.equal((await answer()).type, "connection_ack");
  run("1", 'subscription { messages(room: "harbour") { text } }');
  run("2", 'mutation { say(room: "harbour", author: "Ada", text: "Ahoy!") { author } }');
  const came = [await answer(), await answer(), await answer()];
  assert.deepEqual(came.filter(({ id }) => id === "1"),
    [{ id: "1", type: "next", payload: { data: { messages: { text: "Ahoy!" } } } }]);
  assert.deepEqual(came.filter(({ id }) => id === "2").map(({ type, payload }) => payload?.data.say.author ?? type),
    ["Ada", "complete"]);
});
