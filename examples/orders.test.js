async function place(item) {
  const { data } = await graphql("mutation ($item: String!) { placeOrder(item: $item) { id step } }", { item });
  return data.placeOrder;
}
const advance = (id) => graphql("mutation ($id: ID!) { advanceOrder(id: $id) { step done } }", { id });
const watch = (id, fields = "step done") =>
  subscribe(`subscription ($id: ID!) { orderUpdates(id: $id) { ${fields} } }`, { id });

test("a new watcher is told at once how things stand", async () => {
  const { id } = await place("lamp");
  const { data } = await watch(id).next();
  assert.deepEqual(data.data.orderUpdates, { step: "placed", done: false });
});

test("only those who watch an order see it move", async () => {
  const lamp = await place("lamp");
  const chair = await place("chair");
  const atLamp = watch(lamp.id, "step");
  const atChair = watch(chair.id, "item");

  await advance(lamp.id);

  assert.deepEqual(atLamp.messages.map(({ data }) => data.data.orderUpdates.step), ["placed", "paid"]);
  assert.equal(atChair.messages.length, 1);
});

test("an order goes through five steps and no further", async () => {
  const { id } = await place("clock");
  for (let i = 0; i < 4; i++) await advance(id);
  const { data } = await graphql("query ($id: ID!) { order(id: $id) { step done events { step } } }", { id });
  assert.equal(data.order.done, true);
  assert.deepEqual(data.order.events.map(({ step }) => step), ["placed", "paid", "packed", "shipped", "delivered"]);

  const { errors } = await advance(id);
  assert.match(errors[0].message, /already delivered/);
});

test("there is no order that was not placed", async () => {
  const { data } = await graphql('{ order(id: "1") { id } }');
  assert.equal(data.order, null);
});
