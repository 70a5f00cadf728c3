// The gallery of a run. Everything that comes from files is set as text or as a property, never as markup.
"use strict";

const facerestoreGallery = (() => {
  const PAGE = 100; // photos on a page, and in a file of data
  const byId = (id) => document.getElementById(id);
  const FILTERS = [
    ["all", "All", () => true],
    ["restored", "Restored", (row) => row.effects[0] + row.effects[1] > 0],
    ["little", "Changed little", (row) => row.effects[2] > 0],
    ["kept", "Kept", (row) => row.kept > 0],
    ["noface", "No face", (row) => row.status === "done" && row.found === 0],
    ["failed", "Failed", (row) => row.status === "failed"],
    ["skipped", "Skipped", (row) => row.status === "skipped"],
  ];
  const EFFECTS = [["restored", "restored"], ["cleaned", "cleaned"], ["barely-changed", "barely changed"]];
  const state = { filter: "all", query: "", page: 0 };
  const chunks = new Map();
  const waiting = new Map();
  let rows = [];
  let shown = [];
  let current = -1;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // --- data ---------------------------------------------------------------------------------------------------

  function photoOf(row) {
    const number = Math.floor(row.id / PAGE);
    const found = () => chunks.get(number)[row.id % PAGE];
    if (chunks.has(number)) return Promise.resolve(found());
    if (!waiting.has(number)) {
      waiting.set(number, new Promise((done, fail) => {
        const script = make("script");
        script.src = `${document.body.dataset.folder}/photos-${String(number).padStart(5, "0")}.js`;
        script.onload = done;
        script.onerror = () => { waiting.delete(number); fail(new Error(`${script.src} is missing`)); };
        document.head.append(script);
      }));
    }
    return waiting.get(number).then(found);
  }

  const pictureOf = (key, what) => `pictures/${key.slice(0, 2)}/${key}_${what}.jpg`;

  // --- the cards ----------------------------------------------------------------------------------------------

  function wordsOf(row) {
    const words = make("p", "words");
    if (row.status === "failed") words.append(make("span", "error", `failed: ${row.error}`));
    else if (row.status === "skipped") words.append(make("span", "skipped", "skipped: its result exists"));
    else if (row.status === "left") words.append(make("span", "left", "left to another run, which has begun it"));
    else if (row.found === 0) words.append(make("span", "none", "no face"));
    EFFECTS.forEach(([code, word], number) => {
      if (row.effects[number]) words.append(make("span", code, `${row.effects[number]} ${word}`));
    });
    if (row.done) words.append(make("span", "restored", `${row.done} ${row.word}`));
    if (row.kept) words.append(make("span", "kept", `${row.kept} kept`));
    if (row.change !== null) words.append(make("span", "kept", `${row.change.toFixed(1)} levels`));
    return words;
  }

  function withoutPicture(pair) {
    pair.classList.add("empty", "single");
    pair.textContent = "no picture";
    return pair;
  }

  function pairOf(row) {
    const pair = make("span", "pair");
    if (!row.key && !row.photo) return withoutPicture(pair);
    // A photo that an earlier run has done without a gallery has no small pictures: it stands there itself.
    const kinds = row.key && row.changed ? ["before", "after"] : ["before"];
    if (kinds.length === 1) pair.classList.add("single");
    for (const kind of kinds) {
      const picture = make("img");
      picture.loading = "lazy";
      picture.decoding = "async";
      picture.alt = kinds.length === 1 ? row.name : `${row.name}, ${kind}`;
      picture.onerror = () => withoutPicture(pair);
      picture.src = row.key ? pictureOf(row.key, kind) : row.photo;
      pair.append(picture);
    }
    pair.addEventListener("pointermove", (event) => {
      const box = pair.getBoundingClientRect();
      pair.style.setProperty("--split", `${(100 * (event.clientX - box.left)) / box.width}%`);
    });
    return pair;
  }

  function cardOf(row, place) {
    const item = make("li", "card");
    const open = make("button", "open");
    open.type = "button";
    open.setAttribute("aria-label", `${row.name}: show before and after`);
    open.append(pairOf(row));
    open.addEventListener("click", () => show(place));
    const text = make("div", "text");
    text.append(make("p", "name", row.name));
    if (row.folder) text.append(make("p", "where", row.folder));
    text.append(wordsOf(row));
    item.append(open, text);
    return item;
  }

  function choose() {
    const fits = FILTERS.find(([name]) => name === state.filter)[2];
    const query = state.query.trim().toLowerCase();
    const found = (row) => !query || `${row.folder}/${row.name}`.toLowerCase().includes(query);
    shown = rows.filter((row) => fits(row) && found(row));
    state.page = Math.max(0, Math.min(state.page, Math.ceil(shown.length / PAGE) - 1));
    draw();
  }

  function draw() {
    const first = state.page * PAGE;
    const slice = shown.slice(first, first + PAGE);
    byId("cards").replaceChildren(...slice.map((row, number) => cardOf(row, first + number)));
    byId("state").textContent = shown.length
      ? `${first + 1} to ${first + slice.length} of ${shown.length} photos` : "no photo fits";
    for (const button of byId("filters").children) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === state.filter));
    }
    drawPages();
  }

  function drawPages() {
    const last = Math.ceil(shown.length / PAGE) - 1;
    const near = (page) => page === 0 || page === last || Math.abs(page - state.page) <= 3;
    const parts = [];
    for (let page = 0; last > 0 && page <= last; page += 1) {
      if (!near(page)) {
        if (near(page - 1)) parts.push(make("span", "", "…"));
        continue;
      }
      const button = make("button", "", String(page + 1));
      button.type = "button";
      button.setAttribute("aria-label", `Page ${page + 1}`);
      if (page === state.page) button.setAttribute("aria-current", "page");
      button.addEventListener("click", () => turn(page));
      parts.push(button);
    }
    byId("pages").replaceChildren(...parts);
  }

  function turn(page) {
    if (page < 0 || page * PAGE >= shown.length) return;
    state.page = page;
    draw();
    window.scrollTo(0, 0);
  }

  // --- one photo ----------------------------------------------------------------------------------------------

  function show(place) {
    if (place < 0 || place >= shown.length) return;
    current = place;
    const row = shown[place];
    photoOf(row).then(
      (photo) => { if (current === place) open(row, photo); },
      (error) => { byId("state").textContent = String(error.message); },
    );
  }

  function open(row, photo) {
    byId("photo-name").textContent = row.name;
    byId("photo-state").textContent = photo.words;
    byId("previous").disabled = current === 0;
    byId("next").disabled = current === shown.length - 1;
    view(row, photo);
    byId("links").replaceChildren(...[["the photo", photo.input], ["the result", photo.output]]
      .filter(([, address]) => address).map(([word, address]) => {
        const link = make("a", "", word);
        link.href = address;
        return link;
      }));
    byId("notes").replaceChildren(...photo.notes.map((note) => make("li", "", note)));
    byId("faces-title").hidden = photo.faces.length === 0;
    byId("faces").replaceChildren(...photo.faces.map((face) => faceOf(row, face)));
    if (!byId("photo").open) byId("photo").showModal();
    byId("photo").scrollTop = 0;
  }

  function view(row, photo) {
    const both = Boolean(row.changed && photo.output);
    for (const [id, word, address] of [["before", "before", photo.input], ["after", "after", photo.output]]) {
      const picture = byId(id);
      picture.hidden = id === "after" && !both;
      picture.alt = both ? `${row.name}, ${word}` : row.name;
      picture.onerror = () => {
        picture.onerror = null;
        if (row.key) picture.src = pictureOf(row.key, row.changed ? word : "before");
      };
      if (picture.hidden) picture.removeAttribute("src");
      else if (address) picture.src = address;
      else picture.onerror();
    }
    byId("stage").classList.toggle("single", !both);
    byId("slide").classList.toggle("single", !both);
    const [width, height] = photo.size;
    const stage = byId("stage");
    stage.style.setProperty("--ratio", width ? String(width / height) : "1.5");
    stage.style.setProperty("--wide", width ? `${width}px` : "100%");
    byId("viewer").hidden = !photo.input && !row.key;
    split(50);
    zoom(false);
  }

  function split(percent) {
    byId("split").value = String(percent);
    byId("stage").style.setProperty("--split", `${percent}%`);
  }

  function zoom(full) {
    byId("viewer").classList.toggle("full", full);
    byId("zoom").setAttribute("aria-pressed", String(full));
  }

  function faceOf(row, face) {
    const item = make("li", "face");
    if (face.key) {
      const tiles = make("div", "tiles");
      for (const [number, word] of (face.pair ? ["before", "after"] : ["in the photo"]).entries()) {
        const tile = make("div", "tile");
        tile.setAttribute("role", "img");
        tile.setAttribute("aria-label", `${face.title} ${word}`);
        tile.style.backgroundImage = `url("${pictureOf(face.key, "faces")}")`;
        tile.style.backgroundPosition = `${-112 * face.column}px ${-112 * number}px`;
        tiles.append(tile);
      }
      item.append(tiles);
    }
    const text = make("div");
    text.append(make("p", `title ${face.code}`, `${face.title}: ${face.words}`), make("p", "", face.reason));
    for (const line of face.lines) text.append(make("p", "small", line));
    const look = make("button", "", "Show in the photo");
    look.type = "button";
    look.addEventListener("click", () => goTo(face.centre));
    text.append(look);
    item.append(text);
    return item;
  }

  function goTo([across, down]) {
    zoom(true);
    const viewer = byId("viewer");
    const stage = byId("stage");
    viewer.scrollTo(across * stage.offsetWidth - viewer.clientWidth / 2, down * stage.offsetHeight - viewer.clientHeight / 2);
    split(Math.round(100 * across));
    viewer.focus({ preventScroll: true });
    byId("photo").scrollTo({ top: 0 });
  }

  // --- what people press --------------------------------------------------------------------------------------

  function name(dark) {
    byId("theme").textContent = dark ? "Light colours" : "Dark colours";
  }

  function theme(wanted) {
    document.documentElement.dataset.theme = wanted;
    name(wanted === "dark");
    try { localStorage.setItem("facerestore-theme", wanted); } catch { /* not kept where nothing may be */ }
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target instanceof HTMLInputElement;
    const within = byId("photo").open;
    const actions = within
      ? { ArrowLeft: () => show(current - 1), ArrowRight: () => show(current + 1),
          ",": () => split(100), ".": () => split(0), z: () => zoom(byId("zoom").ariaPressed !== "true") }
      : { "/": () => byId("search").focus(), "[": () => turn(state.page - 1), "]": () => turn(state.page + 1) };
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : null;
    if (!action || typing) return;
    event.preventDefault();
    action();
  }

  function listen() {
    byId("search").addEventListener("input", (event) => {
      state.query = event.target.value;
      state.page = 0;
      choose();
    });
    byId("theme").addEventListener("click", () => theme(byId("theme").textContent.startsWith("Dark") ? "dark" : "light"));
    byId("split").addEventListener("input", (event) => split(Number(event.target.value)));
    byId("zoom").addEventListener("click", () => zoom(byId("zoom").ariaPressed !== "true"));
    byId("previous").addEventListener("click", () => show(current - 1));
    byId("next").addEventListener("click", () => show(current + 1));
    byId("close").addEventListener("click", () => byId("photo").close());
    byId("photo").addEventListener("close", () => {
      const card = byId("cards").children[current - state.page * PAGE];
      if (card) card.querySelector("button").focus();
    });
    byId("stage").addEventListener("pointermove", (event) => {
      if (!(event.buttons & 1)) return;
      const box = byId("stage").getBoundingClientRect();
      split(Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width)));
    });
    byId("stage").addEventListener("dragstart", (event) => event.preventDefault());
    document.addEventListener("keydown", press);
  }

  function begin(found) {
    rows = found.map((row, id) => ({ ...row, id }));
    byId("filters").replaceChildren(...FILTERS.map(([name, word, fits]) => {
      const button = make("button", "", `${word} ${rows.filter(fits).length}`);
      button.type = "button";
      button.dataset.filter = name;
      button.addEventListener("click", () => { state.filter = name; state.page = 0; choose(); });
      return button;
    }));
    let kept = null;
    try { kept = localStorage.getItem("facerestore-theme"); } catch { /* none is kept */ }
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    if (kept) theme(kept);
    else name(dark);
    listen();
    choose();
  }

  return { index: begin, photos: (number, photos) => chunks.set(number, photos) };
})();
