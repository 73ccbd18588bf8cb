const ada = asUser("ada"), ben = asUser("ben");

test("everybody has a diary that nobody else can read", async () => {
  await ada.request("POST", "/diary", { form: { text: "Dear diary <3" } });
  assert.match((await ada.request("/diary")).body, /Dear diary &lt;3/);
  assert.doesNotMatch((await ben.request("/diary")).body, /Dear diary/);
});

test("a browser is sent to the login and back, a program is told", async () => {
  const response = await request("/diary", { headers: { accept: "text/html" } });
  assert.equal(response.status, 302);
  assert.equal(response.headers.location, "/auth/login?redirect=%2Fdiary");
  assert.equal((await request("/diary")).status, 401);
});

test("a letter reaches its reader, whatever others write into the address", async () => {
  const letters = ben.connect("/diary/letters");
  const eve = ada.connect("/diary/letters", { query: { user_id: "ben" } });
  await ada.request("POST", "/diary/letters", { form: { to: "ben", text: "Hello" } });
  assert.deepEqual((await letters.next()).data, { from: "ada", text: "Hello" });
  assert.equal(eve.messages.length, 0);
  assert.equal(connect("/diary/letters").status, 403);
});

test("only an admin sees who is here", async () => {
  ben.connect("/diary/letters");
  assert.deepEqual((await ada.request("/diary/readers")).json, ["Ben"]);
  assert.equal((await ben.request("/diary/readers")).status, 403);
});
