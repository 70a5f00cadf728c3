// The page: photos come in, wait in a queue, and are restored one after the other; the one that is looked at can be changed.
import * as api from "./api.js";
import * as panel from "./faces.js";
import { make } from "./dials.js";
import * as viewer from "./viewer.js";
import { asOptions, faceSettings, options, settings } from "./settings.js";

const byId = (id) => document.getElementById(id);
const SHOWN = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/avif"]; // what a browser can show
const PAUSE = 350; // ms after the last change of a setting
const photos = [];
let current = null;
let working = false;

// --- photos come in -------------------------------------------------------------------------------------------------

function add(files) {
  const added = [...files].filter((file) => file.size).map((file) => ({
    file, before: SHOWN.includes(file.type) ? URL.createObjectURL(file) : null, after: null, result: null, size: null,
    faces: [], chosen: [], looked: false, all: settings(), notes: [], state: "waits", words: "waits", stale: true, abort: null, timer: 0,
  }));
  if (!added.length) return;
  for (const photo of added) photo.entry = entry(photo);
  byId("photos").append(...added.map((photo) => photo.entry));
  photos.push(...added);
  document.body.classList.remove("empty");
  choose(current ?? added[0]);
  work();
}

function remove(photo) {
  photo.abort?.abort();
  const place = photos.indexOf(photo);
  photos.splice(place, 1);
  photo.entry.remove();
  for (const address of [photo.before, photo.after]) if (address) URL.revokeObjectURL(address);
  current = null;
  document.body.classList.toggle("empty", !photos.length);
  if (photos.length) choose(photos[Math.min(place, photos.length - 1)]);
  else byId("drop").focus();
}

// --- the queue ------------------------------------------------------------------------------------------------------

async function work() {
  if (working) return;
  working = true;
  for (let photo = next(); photo; photo = next()) await take(photo);
  working = false;
}

const next = () => (current?.stale ? current : photos.find((photo) => photo.stale));

async function take(photo) {
  photo.stale = false;
  photo.abort = new AbortController();
  const { signal } = photo.abort;
  try {
    if (!photo.looked) await look(photo, signal);
    tell(photo, "busy", photo.faces.length ? `restoring ${count(photo)}` : "no face found");
    const { file, report } = await api.restore(photo.file, options(photo.all, photo.chosen), signal);
    await finish(photo, file, report, signal);
  } catch (error) {
    if (signal.aborted) return; // it was changed meanwhile, or removed
    tell(photo, "failed", error.message || "the service cannot be reached");
  }
}

async function look(photo, signal) {
  tell(photo, "busy", "looking for faces");
  if (!photo.before) {
    const { file } = await api.restore(photo.file, { strength: "0", format: "png" }, signal);
    photo.before = URL.createObjectURL(file);
  }
  const found = await api.findFaces(photo.file, asOptions(photo.all), signal);
  Object.assign(photo, { size: found.size, faces: found.faces, looked: true });
  if (photo.chosen.length !== found.faces.length) photo.chosen = found.faces.map(faceSettings);
  draw(photo);
}

async function finish(photo, file, report, signal) {
  let shown = file;
  if (!SHOWN.includes(file.type)) {
    const asked = { ...options(photo.all, photo.chosen), format: "png" };
    shown = (await api.restore(photo.file, asked, signal)).file;
  }
  const old = photo.after;
  photo.result = file;
  photo.after = report.restored ? URL.createObjectURL(shown) : null;
  photo.notes = report.notes;
  if (report.faces.length === photo.faces.length) photo.faces = report.faces;
  tell(photo, "done", summary(report));
  if (photo === current) refresh();
  if (old) URL.revokeObjectURL(old);
}

const count = (photo) => {
  const on = photo.chosen.filter((one) => one.on).length;
  return `${on} face${on === 1 ? "" : "s"}`;
};

function summary(report) {
  const plural = report.found === 1 ? "" : "s";
  if (!report.found) return "no face found; the photo is as it was";
  const kept = report.found - report.restored;
  return `${report.found} face${plural}: ${report.restored} restored${kept ? `, ${kept} kept as it was` : ""}`;
}

function tell(photo, state, words) {
  Object.assign(photo, { state, words });
  drawQueue();
  if (photo === current) drawState();
}

// --- what is shown --------------------------------------------------------------------------------------------------

function choose(photo) {
  current = photo;
  viewer.split(50);
  viewer.zoom(false);
  drawQueue();
  draw(photo);
  photo.entry.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function draw(photo) {
  if (photo !== current) return;
  byId("name").textContent = photo.file.name;
  viewer.marks(photo, toggle);
  panel.drawAll(photo, change);
  panel.drawFaces(photo, change, toggle);
  refresh();
}

// Shows what has become of the photo that is looked at; nothing that has the focus is made anew.
function refresh() {
  viewer.show(current);
  viewer.press(current);
  panel.update();
  byId("notes").replaceChildren(...current.notes.map((note) => make("li", "", note)));
  drawState();
}

function drawState() {
  byId("state").textContent = current.words;
  byId("state").className = { busy: "busy", failed: "error" }[current.state] ?? "";
  byId("again").hidden = current.state !== "failed";
  const link = byId("download");
  if (link.href) URL.revokeObjectURL(link.href);
  link.removeAttribute("href");
  if (ready(current)) {
    link.href = URL.createObjectURL(current.result);
    link.download = nameOf(current);
  }
}

function nameOf(photo) {
  const type = photo.result.type.replace("image/", "").replace("jpeg", "jpg").replace("tiff", "tif");
  const [, stem, ending] = photo.file.name.match(/^(.*?)(\.[^.]+)?$/);
  const same = photo.result.type === photo.file.type && ending;
  return `${stem}_restored${same || `.${type}`}`;
}

// An item of the queue, which shows the photo by its `draw`.
function entry(photo) {
  const [item, button, sketch, word] = [make("li"), make("button"), make("img"), make("span")];
  button.type = "button";
  sketch.alt = "";
  button.append(sketch, make("span", "", photo.file.name), word);
  button.addEventListener("click", () => choose(photo));
  item.append(button);
  item.draw = () => {
    if (photo === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (photo.before && sketch.src !== photo.before) sketch.src = photo.before;
    word.className = `word ${photo.state}`;
    word.textContent = { busy: "…", waits: "waits", failed: "failed", done: photo.after ? "restored" : "as it was" }[photo.state];
  };
  return item;
}

function drawQueue() {
  for (const element of [document.body, byId("queue")]) element.classList.toggle("several", photos.length > 1);
  for (const photo of photos) photo.entry.draw();
  byId("download-all").disabled = !photos.some(ready);
}

// --- what is changed ------------------------------------------------------------------------------------------------

function change() {
  const photo = current;
  photo.abort?.abort();
  tell(photo, "busy", "changed");
  clearTimeout(photo.timer);
  photo.timer = setTimeout(() => { photo.stale = true; work(); }, PAUSE);
}

function toggle(index) {
  const own = current.chosen[index];
  if (!own) return;
  own.on = !own.on;
  viewer.press(current);
  panel.update();
  change();
}

const ready = (photo) => photo.result && photo.state === "done";

function downloadAll() {
  for (const photo of photos.filter(ready)) {
    const link = make("a");
    link.href = URL.createObjectURL(photo.result);
    link.download = nameOf(photo);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}

// --- what people press ----------------------------------------------------------------------------------------------

function step(by) {
  const place = photos.indexOf(current) + by;
  if (photos[place]) choose(photos[place]);
}

function press(event) {
  const typing = event.target instanceof HTMLSelectElement || ["text", "password"].includes(event.target.type);
  if (event.ctrlKey || event.metaKey || event.altKey || typing || byId("token").open) return;
  const actions = {
    o: () => byId("files").click(), "[": () => step(-1), "]": () => step(1), ",": () => viewer.split(100),
    ".": () => viewer.split(0), b: () => viewer.boxes(), z: () => viewer.zoom(), d: () => byId("download").click(),
  };
  if (/^[1-9]$/.test(event.key) && current) actions[event.key] = () => toggle(Number(event.key) - 1);
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}

function nameTheme(dark) {
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
}

function theme(wanted) {
  document.documentElement.dataset.theme = wanted;
  nameTheme(wanted === "dark");
}

function takeFiles(event, files) {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(files);
}

function listen() {
  viewer.listen();
  for (const id of ["open", "drop"]) byId(id).addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", (event) => { takeFiles(event, event.target.files); event.target.value = ""; });
  document.addEventListener("paste", (event) => takeFiles(event, event.clipboardData.files));
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
  document.addEventListener("drop", (event) => takeFiles(event, event.dataTransfer.files));
  byId("remove").addEventListener("click", () => remove(current));
  byId("again").addEventListener("click", () => { current.stale = true; work(); });
  byId("download-all").addEventListener("click", downloadAll);
  byId("upscale").addEventListener("change", (event) => { current.all.upscale = event.target.value; change(); });
  byId("force").addEventListener("change", (event) => {
    Object.assign(current, { looked: false });
    current.all.force = event.target.checked;
    change();
  });
  byId("theme").addEventListener("click", () => theme(byId("theme").textContent.startsWith("Dark") ? "dark" : "light"));
  document.addEventListener("keydown", press);
}

nameTheme(window.matchMedia("(prefers-color-scheme: dark)").matches);
listen();
api.about().then((found) => { byId("about").textContent = `facerestore ${found.facerestore}: ${found.restorer}`; });
