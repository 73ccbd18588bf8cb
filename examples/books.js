// A shelf of books in a SQLite database: a small REST service (list, add, change, delete) and its page.
//
// `python aiwebengine.py examples/` keeps the database in memory; with `--storage data.db` it is in the
// file data.sql.db, which any program for SQLite can open.

database.exec(`
  CREATE TABLE IF NOT EXISTS books (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    author TEXT NOT NULL DEFAULT '',
    read INTEGER NOT NULL DEFAULT 0
  )`);

const one = database.prepare("SELECT * FROM books WHERE id = ?");
const insert = database.prepare("INSERT INTO books (title, author) VALUES (:title, :author)");

// What is put into the template becomes a parameter: no text of a visitor is ever read as SQL.
const search = (words) => database.sql`
  SELECT * FROM books WHERE title LIKE ${`%${words}%`} OR author LIKE ${`%${words}%`} ORDER BY title`;

routeRegistry.registerStreamRoute("/books/changes");
const changed = (book) => routeRegistry.sendStreamMessage("/books/changes", book);

routeRegistry.registerRoute("/api/books", ({ request }) => search(request.query.q ?? ""));

routeRegistry.registerRoute("/api/books", ({ request }) => {
  const { title = "", author = "" } = request.json ?? {};
  if (!String(title).trim()) return ResponseBuilder.error(400, "A book needs a title.");
  const { lastInsertRowid } = insert.run({ title: String(title).trim(), author: String(author).trim() });
  const book = one.get(lastInsertRowid);
  changed(book);
  return ResponseBuilder.json(book, 201);
}, "POST");

routeRegistry.registerRoute("/api/books/:id", ({ request }) => {
  const book = one.get(request.params.id);
  return book ?? ResponseBuilder.error(404, "There is no such book.");
});

routeRegistry.registerRoute("/api/books/:id", ({ request }) => {
  const { changes } = database.sql`
    UPDATE books SET read = ${request.json?.read ? 1 : 0} WHERE id = ${request.params.id}`;
  if (!changes) return ResponseBuilder.error(404, "There is no such book.");
  const book = one.get(request.params.id);
  changed(book);
  return book;
}, "PATCH");

routeRegistry.registerRoute("/api/books/:id", ({ request }) => {
  const { changes } = database.sql`DELETE FROM books WHERE id = ${request.params.id}`;
  if (!changes) return ResponseBuilder.error(404, "There is no such book.");
  changed({ id: Number(request.params.id), gone: true });
}, "DELETE");

// All or none: a transaction undoes what it did when anything in it throws.
const addAll = database.transaction((books) => {
  for (const { title, author = "" } of books) insert.run({ title, author });
  return books.length;
});
routeRegistry.registerRoute("/api/books/import", ({ request }) => {
  try {
    return { added: addAll(request.json) };
  } catch (error) {
    return ResponseBuilder.error(400, `Nothing was added: ${error.message}`);
  }
}, "POST");
