const token = env.HOOK_TOKEN ?? "let-me-in";
const TOKEN = { "X-Hook-Token": token };

test("a hook appears on the page, with what came in it", async () => {
  const page = connect("/hooks/events");
  const response = await request("POST", "/hooks/in/shop", { headers: TOKEN, json: { event: "sold", item: "tea" } });
  assert.equal(response.status, 202);

  const { data } = await page.next();
  assert.equal(data.id, response.json.received);
  assert.equal(data.source, "shop");
  assert.equal(data.event, "sold");
  assert.deepEqual(data.payload, { event: "sold", item: "tea" });
});

test("forms and plain text are welcome too", async () => {
  const page = connect("/hooks/events");
  await request("POST", "/hooks/in/form", { headers: TOKEN, form: { action: "opened" } });
  await request("POST", `/hooks/in/text?token=${encodeURIComponent(token)}`, { body: "knock knock" });
  assert.equal((await page.next()).data.event, "opened");
  assert.equal((await page.next()).data.payload, "knock knock");
});

test("nothing gets in without the token", async () => {
  const page = connect("/hooks/events");
  const response = await request("POST", "/hooks/in/shop", { json: {} });
  assert.equal(response.status, 401);
  assert.deepEqual(page.messages, []);
});

test("the twenty latest are kept, newest first", async () => {
  for (let i = 1; i <= 25; i++) await request("POST", "/hooks/in/count", { headers: TOKEN, json: { i } });
  const recent = (await request("/hooks/recent")).json;
  assert.equal(recent.length, 20);
  assert.deepEqual(recent[0].payload, { i: 25 });
});
