// A diary for everyone who logs in: what only its owner can read, and letters to one person.
//
// users.json says who there is. Log in as Ada in one window, and in a private window as Ben.

const page = (title, ...parts) => h("html", { lang: "en" },
  h("head", null,
    h("meta", { charset: "utf-8" }),
    h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    h("title", null, title),
    h("link", { rel: "icon", href: "/icon.svg" }),
    h("link", { rel: "stylesheet", href: "/style.css" })),
  h("body", null,
    h("header", { class: "top" }, h("a", { href: "/index.html" }, "← Examples"),
      h("a", { href: "/auth/logout?redirect=/diary" }, "Log out")),
    h("main", null, h("h1", null, title), parts)));

// A browser that nobody has logged in with is sent to the login, and comes back.
routeRegistry.registerRoute("/diary", ({ request }) => page(`The diary of ${request.auth.userName}`,
  h("section", { class: "card" },
    h("form", { method: "post", action: "/diary" },
      h("div", { class: "field" },
        h("label", { for: "text" }, "Only you can read this"),
        h("textarea", { id: "text", name: "text", rows: 8 }, personalStorage.getItem("text") ?? "")),
      h("button", null, "Keep"))),
  request.auth.isAdmin && h("p", null, h("a", { href: "/diary/readers" }, "Who is here?"))), "GET", { requireAuth: true });

routeRegistry.registerRoute("/diary", ({ request }) => {
  personalStorage.setItem("text", request.form.text ?? "");
  return ResponseBuilder.redirect("/diary", 303);
}, "POST", { requireAuth: true });

// The metadata user_id comes from the login: nobody can listen to the letters of somebody else.
routeRegistry.registerStreamRoute("/diary/letters", {
  onConnect: ({ request }) => request.auth.isAuthenticated,
});
routeRegistry.registerRoute("/diary/letters", ({ request }) => {
  const { to, text = "" } = request.form;
  const letter = { from: request.auth.userId, text };
  return routeRegistry.sendStreamMessageFiltered("/diary/letters", letter, { user_id: to });
}, "POST", { requireAuth: true });

routeRegistry.registerRoute("/diary/readers", () => JSON.parse(routeRegistry.listConnections("/diary/letters"))
  .map(({ metadata }) => metadata.user_name), "GET", { requireAuth: "admin" });
