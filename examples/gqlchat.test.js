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
