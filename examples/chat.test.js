// python aiwebengine.py --test examples/
//
// connect() listens to a stream as a browser does; with `websocket` it can also send. request() sends a form.

const enter = (name, room, options) => connect("/chat/events", { query: { name, room }, ...options });
const send = (form) => request("POST", "/chat/send", { form });
const texts = (client) => client.messages.map(({ data }) => data.text);

test("a message stays in its room", async () => {
  const ada = enter("Ada", "lobby");
  const ben = enter("Ben", "garden");

  const response = await send({ from: "Ada", room: "lobby", text: "Hello, lobby" });

  assert.match(response.body, /1 connection matched, 1 delivered/);
  assert.deepEqual(texts(ada), ["Ada came in.", "Hello, lobby"]);
  assert.deepEqual(texts(ben), ["Ben came in."]);
});

test("a private message reaches two people, wherever they are", async () => {
  const ada = enter("Ada", "lobby");
  const ben = enter("Ben", "garden");
  const eve = enter("Eve", "garden");

  await send({ from: "Ada", to: "Ben", text: "Psst" });

  assert.equal(texts(ada).at(-1), "Psst");
  assert.equal(texts(ben).at(-1), "Psst");
  assert.ok(!texts(eve).includes("Psst"));
});

test("those who are there hear who comes in, but not who comes back", async () => {
  const ada = enter("Ada", "lobby");
  const ben = enter("Ben", "lobby");
  assert.deepEqual(texts(ada), ["Ada came in.", "Ben came in."]);

  await send({ from: "Ada", room: "lobby", text: "Hi Ben" });
  ben.reconnect();
  assert.deepEqual(texts(ada), ["Ada came in.", "Ben came in.", "Hi Ben"]);
});

test("one WebSocket is enough to read and to write", async () => {
  const ada = enter("Ada", "lobby", { websocket: true });
  const ben = enter("Ben", "lobby");
  await ada.next();
  await ada.next();

  ada.send({ text: "Hello", from: "Somebody else" });
  const message = (await ada.next()).data;
  assert.deepEqual([message.from, message.text], ["Ada", "Hello"]);
  assert.match((await ada.next()).data.text, /2 connections matched/);
  assert.equal(texts(ben).at(-1), "Hello");

  for (const nothing of [{ text: " " }, {}, "no JSON", [1]]) {
    ada.send(nothing);
    const { event, data } = await ada.next();
    assert.deepEqual([event, data], ["answer", { ok: false, text: "There is nothing to send." }]);
  }
});

test("whoever has no name, or asks for an unknown room, stays outside", () => {
  assert.equal(enter("", "lobby").status, 400);
  assert.match(enter("Ada", "attic").body, /no such room/);
});
