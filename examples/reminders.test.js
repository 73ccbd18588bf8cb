const add = (text, minutes) => request("POST", "/reminders", { form: { text, minutes } });

test("a reminder rings at its time, and other scripts hear of it", async () => {
  const page = connect("/reminders/events");
  const manager = connect("/notify/events?badge=badge-301");
  assert.equal((await add("the bread", 0.1)).status, 201);
  assert.deepEqual((await page.next()).data.map(({ text, rang }) => [text, rang]), [["the bread", undefined]]);

  await clock.advance(5000);
  assert.equal(page.messages.length, 1);
  await clock.advance(1000);
  const [bread] = page.messages.at(-1).data;
  assert.equal(bread.rang, bread.at);
  assert.deepEqual(manager.messages.map(({ data }) => data.text), ["Reminder: the bread"]);
});

test("two that are due together both ring, each once", async () => {
  const page = connect("/reminders/events");
  await Promise.all([add("soup", 0.05), add("bread", 0.05)]);
  await clock.advance(5000);
  const rang = page.messages.at(-1).data.filter(({ text }) => ["soup", "bread"].includes(text));
  assert.deepEqual(rang.map((one) => one.rang - one.at), [0, 0]);
  assert.equal(page.messages.length, 4);
});

test("what is no reminder is refused, with the reason", async () => {
  for (const [text, minutes] of [[" ", 1], ["x", "soon"], ["x", -1], ["x".repeat(201), 1]]) {
    const { status, json } = await add(text, minutes);
    assert.equal(status, 400);
    assert.ok(json.error.message);
  }
});

test("the page bears the name that a setting gives it", async () => {
  const { body, headers } = await request("/reminders");
  assert.match(headers["content-type"], /^text\/html/);
  assert.match(body, new RegExp(`<h1><span>${env.REMINDERS ?? "Reminders"}</span></h1>`));
});
