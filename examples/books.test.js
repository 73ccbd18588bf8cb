const add = (title, author) => request("POST", "/api/books", { json: { title, author } });
const titles = async (q) => (await request("/api/books", { query: { q } })).json.map(({ title }) => title);

test("a book is added, found, marked and deleted", async () => {
  const { status, json: book } = await add("Emma", "Jane Austen");
  assert.equal(status, 201);
  assert.deepEqual((await request(`/api/books/${book.id}`)).json, book);

  await request("PATCH", `/api/books/${book.id}`, { json: { read: true } });
  assert.equal((await request(`/api/books/${book.id}`)).json.read, 1);

  assert.equal((await request("DELETE", `/api/books/${book.id}`)).status, 204);
  assert.equal((await request(`/api/books/${book.id}`)).status, 404);
});

test("a search is no SQL", async () => {
  await add("Dune", "Frank Herbert");
  await add("Persuasion", "Jane Austen");
  assert.deepEqual(await titles("austen"), ["Persuasion"]);
  assert.deepEqual(await titles("' OR 1=1 --"), []);
});

test("an import is all or nothing", async () => {
  const before = await titles("");
  const response = await request("POST", "/api/books/import", { json: [{ title: "One" }, { title: "" }] });
  assert.equal(response.status, 400);
  assert.match(response.json.error, /CHECK constraint failed/);
  assert.deepEqual(await titles(""), before);
});

test("a change is heard at once", async () => {
  const client = connect("/books/changes");
  const { json: book } = await add("Ulysses", "James Joyce");
  assert.deepEqual((await client.next()).data, book);
});
