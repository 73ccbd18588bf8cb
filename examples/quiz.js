// A quiz for a class: the teacher shows the questions on the wall, and everybody answers on a phone.
// Start it with --share. On the machine that runs it, the page with ?teacher is the teacher's, and shows a code for phones.
const QUESTIONS = [
  { text: "Which planet is closest to the sun?", choices: ["Venus", "Mercury", "Mars", "Earth"], right: 1 },
  { text: "How many bits are in a byte?", choices: ["4", "8", "16", "32"], right: 1 },
  { text: "Which of these is a prime number?", choices: ["21", "27", "29", "33"], right: 2 },
];
const players = new Map(); // by id: { name, score, choice, points }
const quiz = { step: 0, phase: "lobby", number: 0, counts: [], since: 0 };

routeRegistry.registerStreamRoute("/quiz/events", "listen");
routeRegistry.registerRoute("/quiz", "show");
routeRegistry.registerRoute("/quiz/join", "join", "POST");
routeRegistry.registerRoute("/quiz/answer", "answer", "POST");
routeRegistry.registerRoute("/quiz/next", "next", "POST");
const refuse = (status, reason) => ({ status, body: reason });
const isTeacher = ({ ip, headers }) => ["127.0.0.1", "::1"].includes(ip) && !headers["x-forwarded-for"];
const tellTeacher = () => routeRegistry.sendStreamMessageFiltered("/quiz/events", state(true), { role: "teacher" });

// What is told. While a question is open, only the teacher sees how many chose what, and nobody which answer is right.
function state(all = quiz.phase === "answer") {
  const { step, phase, number, counts } = quiz;
  const { text, choices = [], right } = phase === "end" ? {} : QUESTIONS[number - 1] ?? {};
  const best = phase === "question" ? [] : [...players.values()].sort((a, b) => b.score - a.score).slice(0, 10);
  return { step, phase, number, total: QUESTIONS.length, text, choices, players: players.size, counts: all ? counts : [],
    right: phase === "answer" ? right : null, best: best.map(({ name, score }) => ({ name, score })) };
}

/** Decides who listens as what. @param {Context} context */
function listen({ request }) {
  return { role: "teacher" in request.query && isTeacher(request) ? "teacher" : "student" };
}

/** How things stand, also for a player whose page was cut off in the middle of a question. @param {Context} context */
function show({ request }) {
  const { name, score, choice } = players.get(request.query.id) ?? {}, teacher = isTeacher(request);
  return { ...state(quiz.phase === "answer" || teacher), me: name ? { name, score, choice } : null, teacher };
}

/** @param {Context} context */
function join({ request }) {
  const name = (request.form.name ?? "").trim().slice(0, 20);
  if (!name) return refuse(400, "Please write your name.");
  if ([...players.values()].some((player) => player.name === name)) return refuse(409, `The name ${name} is taken.`);
  const id = crypto.randomUUID();
  players.set(id, { name, score: 0, choice: null, points: 0 });
  tellTeacher();
  return { id };
}

/** The first answer counts: 1000 points if it comes at once, 500 after twenty seconds. @param {Context} context */
function answer({ request: { form } }) {
  const player = players.get(form.id), choice = Number(form.choice);
  if (!player) return refuse(404, "Please join first.");
  if (quiz.phase !== "question" || Number(form.number) !== quiz.number) return refuse(409, "Too late.");
  if (player.choice !== null || !(choice in quiz.counts)) return refuse(409, "One answer to each question.");
  const points = Math.round(Math.max(500, 1000 - (Date.now() - quiz.since) / 40));
  Object.assign(player, { choice, points: choice === QUESTIONS[quiz.number - 1].right ? points : 0 });
  quiz.counts[choice] += 1;
  tellTeacher();
}

/** A question, its answer, the next question …, the end, and a new round. @param {Context} context */
function next({ request }) {
  if (!isTeacher(request)) return refuse(403, "Only the teacher may do this.");
  const { phase, number } = quiz;
  if (phase === "question") quiz.phase = "answer";
  else if (phase === "answer" && number === QUESTIONS.length) quiz.phase = "end";
  else Object.assign(quiz, { phase: "question", number: (number % QUESTIONS.length) + 1, since: Date.now() });
  if (quiz.phase === "question") quiz.counts = QUESTIONS[quiz.number - 1].choices.map(() => 0);
  quiz.step += 1;
  for (const player of players.values()) {
    if (phase === "end") player.score = 0;
    if (quiz.phase === "answer") player.score += player.points;
    if (quiz.phase === "question") Object.assign(player, { choice: null, points: 0 });
  }
  routeRegistry.sendStreamMessageFiltered("/quiz/events", state(), { role: "student" });
  return tellTeacher();
}
