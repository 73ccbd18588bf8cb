// A data feed with setInterval: three weather buoys report wind and water temperature.
//
// Each reading is sent once to the connections that asked for that buoy, and once to those
// that asked for all of them. The page can change how often the buoys report.

const BUOYS = {
  harbour: { wind: 4, water: 14.5 },
  sandbank: { wind: 7, water: 13.0 },
  lighthouse: { wind: 11, water: 11.5 },
};
const FASTEST = 100;
const SLOWEST = 10000;

let period = 1000; // milliseconds between two reports
let timer;

// The server calls init once, after it has loaded the script.
function init() {
  routeRegistry.registerStreamRoute("/feed/events", "subscribe");
  routeRegistry.registerRoute("/feed/period", () => ({ period }));
  routeRegistry.registerRoute("/feed/period", "changePeriod", "POST");
  timer = setInterval(report, period);
}

function subscribe({ request }) {
  const { buoy = "all" } = request.query;
  if (buoy === "all" || Object.keys(BUOYS).includes(buoy)) return { buoy };
  return { status: 404, body: `No buoy is called ${buoy}.` };
}

// A step up or down at random, kept between two limits and rounded to one decimal.
const drift = (value, step, low, high) => {
  const next = value + (Math.random() - 0.5) * step;
  return Math.round(Math.min(high, Math.max(low, next)) * 10) / 10;
};

function report() {
  const time = new Date().toISOString();
  for (const [buoy, reading] of Object.entries(BUOYS)) {
    reading.wind = drift(reading.wind, 2, 0, 20);
    reading.water = drift(reading.water, 0.4, 8, 20);
    for (const audience of [buoy, "all"]) {
      const filter = JSON.stringify({ buoy: audience });
      sendStreamMessageToConnections("/feed/events", { type: "reading", buoy, time, ...reading }, filter);
    }
  }
}

function changePeriod({ request }) {
  const wanted = Number(request.form.period);
  if (!(wanted >= FASTEST && wanted <= SLOWEST)) {
    return { status: 400, body: `The period is a number of milliseconds, ${FASTEST} to ${SLOWEST}.` };
  }
  period = wanted;
  clearInterval(timer);
  timer = setInterval(report, period);
  routeRegistry.sendStreamMessage("/feed/events", { type: "period", period });
  return { period };
}
