test("a page begins with a snapshot, and gets a message each second", async () => {
  const before = (await request("/dashboard/snapshot")).json;
  assert.equal(before.history.length, 60);

  const page = connect("/dashboard/events");
  await clock.advance(2000);
  assert.equal(page.messages.length, 2);

  // The customers are invented, but the sums must be right.
  const { day } = page.messages[1].data;
  const sold = page.messages.reduce((sum, { data }) => sum + data.orders, 0);
  assert.equal(day.orders, before.day.orders + sold);
  assert.equal(day.orders, Object.values(day.drinks).reduce((sum, count) => sum + count));
});

test("an order counts at once, and is seen with the next second", async () => {
  const before = (await request("/dashboard/snapshot")).json.day;
  const answer = await request("POST", "/dashboard/order", { form: { drink: "espresso" } });
  assert.equal(answer.status, 201);

  const after = (await request("/dashboard/snapshot")).json.day;
  assert.equal(after.revenue, before.revenue + 220);
  assert.equal(after.drinks.espresso, before.drinks.espresso + 1);
});

test("only what is on the menu can be ordered", async () => {
  const { status, body } = await request("POST", "/dashboard/order", { form: { drink: "lemonade" } });
  assert.equal(status, 400);
  assert.match(body, /espresso/);
});
