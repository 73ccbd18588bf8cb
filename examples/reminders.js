// Reminders: work at a time, data that several processes change safely, and a message to other scripts.
//
//   python aiwebengine.py examples/ --storage data.db --env "REMINDERS=Things to do"
//
// With --storage nothing is forgotten when the server stops: what was due meanwhile rings when it starts again.

import page from "./lib/reminders.html" with { type: "text" };

const KEPT = 30, LONGEST = 7 * 24 * 60; // minutes
const title = env.REMINDERS ?? "Reminders"; // a setting: from --env or --env-file, undefined without

routeRegistry.registerStreamRoute("/reminders/events");
routeRegistry.registerRoute("/reminders", () =>
  ResponseBuilder.html(page.replaceAll("{{title}}", () => String(h("span", null, title)))));
routeRegistry.registerRoute("/reminders/list", list);
routeRegistry.registerRoute("/reminders", "add", "POST");

function list() {
  return sharedStorage.getJSON("reminders") ?? [];
}

// update() is one step, also when another process changes the list at the same time: then it is tried again.
function change(edit) {
  const reminders = sharedStorage.update("reminders", (known) => edit(known ?? []).slice(-KEPT));
  routeRegistry.sendStreamMessage("/reminders/events", reminders);
}

// What validate finds wrong is an error with status 400: nobody need catch it.
function add({ request: { form } }) {
  const text = validate.validateString(form.text?.trim(), { minLength: 1, maxLength: 200 });
  const minutes = validate.validateNumber(form.minutes, { min: 0, max: LONGEST });
  const reminder = { id: sharedStorage.increment("last id"), text, at: Date.now() + minutes * 60_000 };
  change((known) => [...known, reminder]);
  schedule(reminder);
  return ResponseBuilder.json(reminder, 201);
}

function schedule({ id, at }) {
  schedulerService.registerOnce({ name: `reminder ${id}`, runAt: at, handler: () => ring(id) });
}

function ring(id) {
  change((known) => known.map((one) => one.id === id ? { ...one, rang: Date.now() } : one));
  const reminder = list().find((one) => one.id === id);
  if (reminder) dispatcher.sendMessage("reminder.due", reminder); // notify.js listens to this
}

// Jobs end with the version of a script that registered them: each version registers what has not rung yet.
list().filter(({ rang }) => !rang).forEach(schedule);

schedulerService.registerRecurring({
  name: "forget what rang", cron: "0 4 * * *", handler: () => change((known) => known.filter(({ rang }) => !rang)),
});
