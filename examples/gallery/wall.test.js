const BOUNDARY = "----picture";
const form = (type) => ({
  headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` },
  body: [`--${BOUNDARY}`, 'Content-Disposition: form-data; name="picture"; filename="a.png"', `Content-Type: ${type}`, "",
    "a picture", `--${BOUNDARY}--`, ""].join("\r\n"),
});

test("pictures hang on the wall, and every answer tells how long it took", async () => {
  const wall = await request("/gallery");
  assert.match(wall.body, /<img src="\/gallery\/boat.svg"/);
  assert.match(wall.headers["server-timing"], /^gallery;dur=/);
  assert.equal((await request("/gallery/boat.svg")).headers["content-type"], "image/svg+xml; charset=utf-8");
});

test("whoever is logged in adds a picture, and nobody else", async () => {
  assert.equal((await request("POST", "/gallery/new", form("image/png"))).status, 401);
  const ada = asUser("ada");
  const { headers } = await ada.request("POST", "/gallery/new", form("image/png"));
  assert.equal(headers.location, "/gallery?note=It%20hangs.");
  const [, path] = (await ada.request("/gallery")).body.match(/"(\/gallery\/ada-.*?\.png)"/);
  const picture = await request(path, { headers: { range: "bytes=2-8" } });
  assert.deepEqual([picture.status, picture.body, picture.headers["content-type"]], [206, "picture", "image/png"]);
});

test("a page is no picture", async () => {
  const { headers } = await asUser("ben").request("POST", "/gallery/new", form("text/html"));
  assert.match(headers.location, /no%20picture/);
});
