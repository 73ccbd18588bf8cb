// fetch.mock answers in place of other servers: tests ask nobody, and need no --allow-net.

const page = () => connect("/lookout/events");
const add = (url) => request("POST", "/lookout", { form: { url } });

test("whoever looks is told who answers", async () => {
  fetch.mock("https://good.test/", () => new Response("<title> Good morning </title>"));
  fetch.mock("https://broken.test/", () => new Response("", { status: 500 }));
  const open = page();
  assert.deepEqual(open.messages[0].data, []);

  const { ok, status, title } = (await add("good.test")).json;
  assert.deepEqual([ok, status, title], [true, 200, "Good morning"]);
  assert.equal((await add("https://broken.test/")).json.ok, false);

  const known = open.messages.at(-1).data.map(({ url, checks }) => [url, checks.at(-1).status]);
  assert.deepEqual(known, [["https://good.test/", 200], ["https://broken.test/", 500]]);
});

test("a server that cannot be reached is a line in the list, not an error of the page", async () => {
  fetch.mock("https://gone.test/", () => { throw new Error("nothing listens at gone.test") });
  const response = await add("https://gone.test/");
  assert.equal(response.status, 200);
  assert.match(response.json.problem, /nothing listens at gone.test/);
});

test("what is asked again is on the list once, and can be removed", async () => {
  fetch.mock("https://twice.test/", "hello");
  await add("twice.test");
  await add("https://twice.test");
  const open = page();
  const entries = () => open.messages.at(-1).data.filter(({ url }) => url === "https://twice.test/");
  assert.deepEqual(entries().map(({ checks }) => checks.length), [2]);

  const remove = () => request("DELETE", "/lookout", { query: { url: "https://twice.test/" } });
  assert.equal((await remove()).status, 204);
  assert.equal((await remove()).status, 404);
  assert.deepEqual(entries(), []);
});

test("what is no address is refused", async () => {
  for (const url of ["", " ", "not an address"]) assert.equal((await add(url)).status, 400);
});
