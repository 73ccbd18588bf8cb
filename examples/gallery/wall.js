// A wall of pictures: files of assets/gallery/, which whoever is logged in may add to.
//
// Start the server with --storage data.db, and scripts may write to assets/.

const TYPES = { "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp" };

const pictures = () => JSON.parse(assetStorage.listAssets()).map(({ name }) => name)
  .filter((name) => name.startsWith("gallery/"));

// A picture is served as a file is: with ETag, and in parts.
const show = (name) => routeRegistry.registerAssetRoute(`/${name}`, name);
pictures().forEach(show);

// Handlers around requests. This one is called before all of /gallery: it notes what others may want to know.
routeRegistry.use("/gallery", ({ request }) => {
  request.user = { id: request.auth.userId, name: request.auth.userName, began: performance.now() };
});

// This one sends away who is not logged in, whatever is below this path.
routeRegistry.use("/gallery/new", ({ request }) => request.auth.requireAuth());

// And this one sees every answer.
routeRegistry.after("/gallery", ({ request, response }) => {
  response.headers["server-timing"] = `gallery;dur=${(performance.now() - request.user.began).toFixed(1)}`;
});

routeRegistry.registerRoute("/gallery", ({ request: { user, query } }) => h("html", { lang: "en" },
  h("head", null,
    h("meta", { charset: "utf-8" }),
    h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    h("title", null, "A wall of pictures"),
    h("link", { rel: "icon", href: "/icon.svg" }),
    h("link", { rel: "stylesheet", href: "/style.css" })),
  h("body", null,
    h("header", { class: "top" }, h("a", { href: "/index.html" }, "← Examples"),
      user.id && h("a", { href: "/auth/logout?redirect=/gallery" }, "Log out")),
    h("main", null, h("h1", null, "A wall of pictures"),
      query.note && h("p", { role: "status" }, query.note),
      h("p", null, pictures().map((name) => [h("img", { src: `/${name}`, alt: name.slice(8), width: 160 }), " "])),
      user.id ? h("section", { class: "card" },
        h("form", { method: "post", action: "/gallery/new", enctype: "multipart/form-data" },
          h("div", { class: "field" },
            h("label", { for: "picture" }, `A picture of yours, ${user.name}`),
            h("input", { id: "picture", name: "picture", type: "file", accept: Object.keys(TYPES).join() })),
          h("button", null, "Hang it up")))
        : h("p", null, h("a", { href: "/auth/login?redirect=/gallery" }, "Log in"), " to add one.")))));

routeRegistry.registerRoute("/gallery/new", ({ request }) => {
  const [file] = request.files;
  const ending = TYPES[file?.contentType];
  const back = (note) => ResponseBuilder.redirect(`/gallery?note=${encodeURIComponent(note)}`, 303);
  if (!ending) return back("That is no picture.");
  const name = `gallery/${request.user.id}-${crypto.randomUUID()}.${ending}`;
  try {
    assetStorage.upsertAsset(name, file.contentType, file.data);
  } catch (error) {
    return back(error.message); // without --storage, for example
  }
  show(name);
  return back("It hangs.");
}, "POST");
