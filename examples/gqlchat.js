// A chat over GraphQL: a query for what was said, a mutation to say something, and a
// subscription that carries each new message to those who are in its room.

const ROOMS = ["bakery", "harbour", "library"];
const KEPT = 50; // messages, of all rooms together
const MAX_AUTHOR = 24;
const MAX_TEXT = 500;
const history = [];

const SDL = `
  "One thing that somebody said."
  type ChatMessage { id: ID!  room: String!  author: String!  text: String!  time: String! }
  type Query { rooms: [String!]!  history(room: String!, last: Int! = 20): [ChatMessage!]! }
  type Mutation { say(room: String!, author: String!, text: String!): ChatMessage! }
  type Subscription { messages(room: String!): ChatMessage! }
`;

graphQLRegistry.registerQuery("rooms", SDL, () => ROOMS);
graphQLRegistry.registerQuery("history", SDL, "readHistory");
graphQLRegistry.registerMutation("say", SDL, "say");
graphQLRegistry.registerSubscription("messages", SDL, "join");

// What a resolver throws arrives at the client as a GraphQL error, with this message.
function checkRoom(room) {
  if (!ROOMS.includes(room)) throw new Error(`There is no room "${room}". Try one of: ${ROOMS.join(", ")}.`);
}

function readHistory({ args: { room, last } }) {
  checkRoom(room);
  if (last < 1) throw new Error("Ask for the last 1 or more messages.");
  return history.filter((message) => message.room === room).slice(-last);
}

function say({ args: { room, ...words } }) {
  checkRoom(room);
  const author = words.author.trim();
  const text = words.text.trim();
  if (!author || !text) throw new Error("Both a name and a text are needed.");
  if (author.length > MAX_AUTHOR) throw new Error(`Please keep the name under ${MAX_AUTHOR} characters.`);
  if (text.length > MAX_TEXT) throw new Error(`Please keep the text under ${MAX_TEXT} characters.`);

  const message = { id: crypto.randomUUID(), room, author, text, time: new Date().toISOString() };
  history.push(message);
  if (history.length > KEPT) history.shift();

  // The argument `room` of each subscription is part of its metadata, so it can be filtered by.
  graphQLRegistry.sendSubscriptionMessageFiltered("messages", message, { room });
  return message;
}

// Called when somebody subscribes. An error refuses the subscription; no value means: send nothing yet.
function join({ args: { room } }) {
  checkRoom(room);
}
