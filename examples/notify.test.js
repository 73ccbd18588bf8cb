const arrive = (badge) => connect("/notify/events", { query: { badge } });
const announce = (audience, text) => request("POST", "/notify/send", { form: { audience, text } });

let kitchen, floor, manager;
beforeEach(() => {
  kitchen = arrive("badge-101");
  floor = arrive("badge-201");
  manager = arrive("badge-301");
});

// How many of the three have got something.
const reached = () => [kitchen, floor, manager].map((client) => client.messages.length);

test("a role, a person, or everyone", async () => {
  await announce("role:kitchen", "Two soups");
  assert.deepEqual(reached(), [1, 0, 0]);
  await announce("name:Chidi", "Table four");
  assert.deepEqual(reached(), [1, 1, 0]);
  await announce("everyone", "Closing time");
  assert.deepEqual(reached(), [2, 2, 1]);
});

test("writing ?role=manager into the address does not help", async () => {
  const sly = connect("/notify/events?badge=badge-101&role=manager");
  await announce("role:manager", "The till is short");
  assert.equal(manager.messages.length, 1);
  assert.equal(sly.messages.length, 0);
});

test("a badge that is not known is refused", () => {
  assert.equal(arrive("badge-999").status, 403);
});

test("a notice needs a reader and a text", async () => {
  assert.equal((await announce("role:pirate", "Arr")).status, 400);
  assert.equal((await announce("everyone", "  ")).status, 400);
  assert.deepEqual(reached(), [0, 0, 0]);
});
