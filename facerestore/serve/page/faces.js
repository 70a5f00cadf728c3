// The panel: settings of all faces, and of each of them.
import { dial, make } from "./dials.js";
import { PARTS } from "./settings.js";

const byId = (id) => document.getElementById(id);
const WORDS = { "barely-changed": "barely changed" };
const FRAME = 128; // pixels of a face's picture

export function drawAll(photo, changed) {
  const all = photo.all;
  byId("all").replaceChildren(
    dial({
      label: "Strength", name: "Strength of all faces", value: all.strength === 1 ? null : all.strength, rest: () => 1, unset: "full",
      changed: (value) => { all.strength = value ?? 1; changed(); },
    }),
    dial({
      label: "Detail", name: "Detail of all faces", value: all.detail, rest: () => 0.8, unset: "auto",
      changed: (value) => { all.detail = value; changed(); },
    }),
  );
  byId("upscale").value = all.upscale;
  byId("force").checked = all.force;
}

const MANY = 4; // faces beyond which their dials are folded away
let rows = [];

export function drawFaces(photo, changed, toggled) {
  byId("faces-title").textContent = photo.looked && !photo.faces.length ? "No face found" : "Faces";
  rows = photo.faces.map((_, index) => item(photo, index, changed, toggled));
  byId("faces").replaceChildren(...rows);
  update();
}

// Shows what has become of the faces; what somebody is about to move stays where it is.
export function update() {
  for (const row of rows) row.update();
}

function item(photo, index, changed, toggled) {
  const own = photo.chosen[index];
  const row = make("li", "face");
  const [top, words, title, reason] = [make("div", "top"), make("div", "words"), make("p", "title"), make("p", "small")];
  const face = picture(index);
  const [box, sliders] = dials(own, photo, index, changed);
  const on = make("input");
  Object.assign(on, { type: "checkbox" });
  on.setAttribute("role", "switch");
  on.setAttribute("aria-label", `Restore face ${index + 1}`);
  on.addEventListener("change", () => toggled(index));
  words.append(title);
  top.append(face, words, on);
  row.append(top, reason, box);
  row.update = () => {
    const found = photo.faces[index];
    const code = found.effect ?? found.decision;
    row.classList.toggle("off", !own.on);
    title.replaceChildren(`Face ${index + 1}`, ...(own.on ? [": ", make("span", code, WORDS[code] ?? code)] : []));
    reason.textContent = found.reason;
    on.checked = own.on;
    for (const slider of sliders) slider.show();
    paint(face, photo, found);
  };
  return row;
}

function dials(own, photo, index, changed) {
  const { all } = photo;
  const slider = (label, key, rest) => dial({
    label, name: `${label} of face ${index + 1}`, value: own[key], rest, unset: "as all",
    changed: (value) => { own[key] = value; changed(); },
  });
  const sliders = [slider("Strength", "strength", () => all.strength), slider("Detail", "detail", () => all.detail ?? 0.8)];
  const ofParts = PARTS.map((part) => dial({
    label: part[0].toUpperCase() + part.slice(1), name: `Strength of the ${part} of face ${index + 1}`,
    value: own.parts[part] ?? null, rest: () => own.strength ?? all.strength, unset: "as all",
    changed: (value) => {
      if (value === null) delete own.parts[part];
      else own.parts[part] = value;
      changed();
    },
  }));
  const parts = folded("Parts", ofParts, Object.keys(own.parts).length > 0);
  const touched = parts.open || own.strength !== null || own.detail !== null;
  const box = photo.faces.length > MANY ? folded("Dials", [...sliders, parts], touched) : make("div");
  if (!box.children.length) box.append(...sliders, parts);
  box.classList.add("dials");
  return [box, [...sliders, ...ofParts]];
}

function folded(title, content, open) {
  const box = make("details");
  box.open = open;
  box.append(make("summary", "", title), ...content);
  return box;
}

function picture(index) {
  const canvas = make("canvas");
  canvas.width = canvas.height = FRAME;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Face ${index + 1} of the photo`);
  return canvas;
}

// Draws the face as it stands in the result, or else in the photo.
function paint(canvas, photo, face) {
  const source = new Image();
  source.onload = () => {
    const scale = source.naturalWidth / photo.size[0];
    const [left, top, right, bottom] = face.box.map((value) => value * scale);
    const side = 1.25 * Math.max(right - left, bottom - top);
    const [x, y] = [(left + right - side) / 2, (top + bottom - side) / 2];
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, FRAME, FRAME);
    pen.drawImage(source, x, y, side, side, 0, 0, FRAME, FRAME);
  };
  const address = photo.after ?? photo.before;
  if (address) source.src = address;
}
