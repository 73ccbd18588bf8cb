// Tests of quiz.js. A test comes from the same machine, as the teacher does; a header says that pupils come from another.

const PUPIL = { headers: { "x-forwarded-for": "10.0.0.5" } };
const post = (path, form) => request("POST", path, { form, ...PUPIL });
const join = async (name) => (await post("/quiz/join", { name })).json.id;
const answer = (id, choice, number = 1) => post("/quiz/answer", { id, number, choice });
const look = async (id) => (await request("/quiz", { query: { id }, ...PUPIL })).json;
const next = () => request("POST", "/quiz/next");

/** Goes on until the first question of a new round is open. */
async function begin() {
  do await next(); while ((await look()).phase !== "question" || (await look()).number !== 1);
}

test("a question reaches everybody, and its right answer only when it is over", async () => {
  const pages = [connect("/quiz/events"), connect("/quiz/events"), connect("/quiz/events?teacher")];
  await next();
  await next();
  for (const page of pages) {
    assert.deepEqual(page.messages.map(({ data }) => [data.phase, data.number, data.right]), [["question", 1, null], ["answer", 1, 1]]);
  }
});

test("the first answer counts, and its points are given when the question is over", async () => {
  const ada = await join("Ada");
  const ben = await join("Ben");
  await begin();
  await answer(ada, 1);
  assert.equal((await answer(ada, 2)).status, 409);
  await clock.advance(8000);
  await answer(ben, 1);
  assert.deepEqual((await look(ada)).me, { name: "Ada", score: 0, choice: 1 });
  await next();
  assert.deepEqual((await look(ada)).best.slice(0, 2), [{ name: "Ada", score: 1000 }, { name: "Ben", score: 800 }]);
});

test("only the teacher sees how many chose what while a question is open", async () => {
  const cleo = await join("Cleo");
  const teacher = connect("/quiz/events?teacher");
  const pupil = connect("/quiz/events?teacher", PUPIL);
  await begin();
  await answer(cleo, 3);
  assert.deepEqual(teacher.messages.at(-1).data.counts, [0, 0, 0, 1]);
  assert.deepEqual(pupil.messages.at(-1).data.counts, []);
  assert.deepEqual((await look(cleo)).counts, []);
  await next();
  assert.deepEqual(pupil.messages.at(-1).data.counts, [0, 0, 0, 1]);
});

test("whoever is cut off in the middle of a question has kept the place", async () => {
  const dan = await join("Dan");
  const page = connect("/quiz/events");
  page.close();
  await begin();
  await answer(dan, 2);
  const again = page.reconnect();
  assert.equal(again.messages.at(-1).data.number, 1);
  assert.deepEqual((await look(dan)).me, { name: "Dan", score: 0, choice: 2 });
});

test("what is wrong is refused with a reason", async () => {
  const eve = await join("Eve");
  await begin();
  assert.equal((await post("/quiz/join", { name: " " })).status, 400);
  assert.match((await post("/quiz/join", { name: "Eve" })).body, /Eve is taken/);
  assert.equal((await post("/quiz/next")).status, 403);
  assert.equal((await answer("nobody", 1)).status, 404);
  assert.equal((await answer(eve, 4)).status, 409);
  assert.match((await answer(eve, 1, 2)).body, /Too late/);
});

test("after the last question comes the result, and then a new round", async () => {
  const finn = await join("Finn");
  await begin();
  await answer(finn, 1);
  while ((await look()).phase !== "end") await next();
  assert.deepEqual((await look(finn)).best[0], { name: "Finn", score: 1000 });
  await next();
  assert.deepEqual((await look(finn)).me, { name: "Finn", score: 0, choice: null });
});
