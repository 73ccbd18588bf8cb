// An order tracker: every order goes through the same steps, and whoever watches an order
// sees it move. The subscription returns an object, and each client picks the fields it wants.

const STEPS = ["placed", "paid", "packed", "shipped", "delivered"];
const MAX_ITEM = 60;
const KEPT = 200;
const orders = new Map(); // by id, oldest first
let lastNumber = 1000;

const SDL = `
  enum OrderStep { placed paid packed shipped delivered }
  type OrderEvent { step: OrderStep!  at: String! }
  type Order { id: ID!  item: String!  step: OrderStep!  done: Boolean!  events: [OrderEvent!]! }
  type Query { order(id: ID!): Order  orders: [Order!]! }
  type Mutation { placeOrder(item: String!): Order!  advanceOrder(id: ID!): Order! }
  type Subscription { orderUpdates(id: ID!): Order! }
`;

graphQLRegistry.registerQuery("order", SDL, ({ args }) => orders.get(args.id));
graphQLRegistry.registerQuery("orders", SDL, () => [...orders.values()]);
graphQLRegistry.registerMutation("placeOrder", SDL, "placeOrder");
graphQLRegistry.registerMutation("advanceOrder", SDL, "advanceOrder");
graphQLRegistry.registerSubscription("orderUpdates", SDL, "watchOrder");

function find(id) {
  const order = orders.get(id);
  if (!order) throw new Error(`There is no order ${id}.`);
  return order;
}

function moveTo(order, step) {
  order.step = step;
  order.done = step === STEPS.at(-1);
  order.events.push({ step, at: new Date().toISOString() });
  return order;
}

function placeOrder({ args: { item } }) {
  if (!item.trim()) throw new Error("Please say what you want to order.");
  if (item.length > MAX_ITEM) throw new Error(`Please say it in ${MAX_ITEM} characters.`);
  const order = moveTo({ id: String(++lastNumber), item: item.trim(), events: [] }, STEPS[0]);
  orders.set(order.id, order);
  if (orders.size > KEPT) orders.delete(orders.keys().next().value);
  return order;
}

function advanceOrder({ args: { id } }) {
  const order = find(id);
  if (order.done) throw new Error(`Order ${id} is already delivered.`);
  moveTo(order, STEPS[STEPS.indexOf(order.step) + 1]);

  // Only those who subscribed with this id get it.
  graphQLRegistry.sendSubscriptionMessageFiltered("orderUpdates", order, { id });
  return order;
}

// What the resolver of a subscription returns is sent to the new subscriber first.
function watchOrder({ args: { id } }) {
  return find(id);
}
