// Time stands still in a test. clock.advance() lets some of it pass, and runs the timers that are due.

const BUOYS = ["harbour", "sandbank", "lighthouse"];

test("every second each buoy reports", async () => {
  const client = connect("/feed/events");
  await clock.advance(3000);
  const names = client.messages.map(({ data }) => data.buoy);
  assert.deepEqual(names, [...BUOYS, ...BUOYS, ...BUOYS]);
});

test("who listens to one buoy hears that one only", async () => {
  const client = connect("/feed/events?buoy=harbour");
  await clock.advance(2000);
  assert.deepEqual(client.messages.map(({ data }) => data.buoy), ["harbour", "harbour"]);
});

test("the pace can be changed", async () => {
  const client = connect("/feed/events?buoy=sandbank");
  assert.equal((await request("POST", "/feed/period", { form: { period: 200 } })).status, 200);
  assert.deepEqual((await client.next()).data, { type: "period", period: 200 });
  await clock.advance(1000);
  assert.equal(client.messages.filter(({ data }) => data.type === "reading").length, 5);
  assert.deepEqual((await request("/feed/period")).json, { period: 200 });

  const refused = await request("POST", "/feed/period", { form: { period: "soon" } });
  assert.equal(refused.status, 400);
});

test("an unknown buoy is refused", () => {
  assert.equal(connect("/feed/events?buoy=moon").status, 404);
});
