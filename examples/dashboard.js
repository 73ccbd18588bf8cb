// A live dashboard for a coffee cart.
//
// The pattern: a page that opens asks once for a snapshot of everything, and after that the
// stream brings it one small message per second. A script's variables live as long as the
// script is loaded, so the day's figures can simply be kept here.

const MENU = { espresso: 220, "flat white": 340, filter: 280, cocoa: 310 }; // prices in cents
const DRINKS = Object.keys(MENU);
const SECONDS = 60; // length of the chart

const day = { orders: 0, revenue: 0, drinks: Object.fromEntries(DRINKS.map((drink) => [drink, 0])) };
const history = new Array(SECONDS).fill(0); // orders in each of the last sixty seconds
let sinceTick = 0;
let clock = 0;

routeRegistry.registerStreamRoute("/dashboard/events");
routeRegistry.registerRoute("/dashboard/snapshot", "snapshot");
routeRegistry.registerRoute("/dashboard/order", "placeOrder", "POST");

function sell(drink) {
  day.orders += 1;
  day.revenue += MENU[drink];
  day.drinks[drink] += 1;
  sinceTick += 1;
}

// Invented customers, more of them in waves, so that there is something to look at.
function simulateCustomers() {
  const expected = 2.5 + 2 * Math.sin(clock / 7) + Math.random() * 2;
  for (let i = 1; i < expected; i++) {
    sell(DRINKS[Math.floor(Math.random() ** 1.5 * DRINKS.length)]);
  }
}

setInterval(() => {
  clock += 1;
  simulateCustomers();
  history.shift();
  history.push(sinceTick);
  routeRegistry.sendStreamMessage("/dashboard/events", { type: "second", orders: sinceTick, day });
  sinceTick = 0;
}, 1000);

function snapshot() {
  return { type: "snapshot", history, day };
}

function placeOrder({ request }) {
  const { drink } = request.form;
  if (!DRINKS.includes(drink)) {
    return { status: 400, body: `We do not serve that. On the menu: ${DRINKS.join(", ")}.` };
  }
  sell(drink);
  return { status: 201, body: `One ${drink}, coming up.` };
}
