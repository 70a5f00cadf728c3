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
      label: "Strength", name: "Strength of all faces", value: all.strength === 1 ? null : all.strength, rest: 1, unset: "full",
      changed: (value) => { all.strength = value ?? 1; changed(); },
    }),
    dial({
      label: "Detail", name: "Detail of all faces", value: all.detail, rest: 0.8, unset: "auto",
      changed: (value) => { all.detail = value; changed(); },
    }),
  );
  byId("upscale").value = all.upscale;
  byId("force").checked = all.force;
}

export function drawFaces(photo, changed, toggled) {
  byId("faces-title").textContent = photo.faces.length ? "Faces" : photo.looked ? "No face found" : "";
  byId("faces").replaceChildren(...photo.faces.map((face, index) => item(photo, face, index, changed, toggled)));
}

function item(photo, face, index, changed, toggled) {
  const own = photo.chosen[index];
  const row = make("li", own.on ? "face" : "face off");
  const top = make("div", "top");
  const words = make("div", "words");
  const code = face.effect ?? face.decision;
  const title = make("p", "title", `Face ${index + 1}`);
  if (own.on) title.append(": ", make("span", code, WORDS[code] ?? code));
  words.append(title);
  const on = make("input");
  Object.assign(on, { type: "checkbox", checked: own.on });
  on.setAttribute("role", "switch");
  on.setAttribute("aria-label", `Restore face ${index + 1}`);
  on.addEventListener("change", () => toggled(index));
  top.append(picture(photo, face, index), words, on);
  row.append(top);
  if (own.on) row.append(make("p", "small", face.reason), dials(own, photo.all, index, changed));
  return row;
}

function dials(own, all, index, changed) {
  const box = make("div", "dials");
  const slider = (label, key, rest, unset) => dial({
    label, name: `${label} of face ${index + 1}`, value: own[key], rest, unset,
    changed: (value) => { own[key] = value; changed(); },
  });
  const parts = make("details");
  parts.open = Object.keys(own.parts).length > 0;
  parts.append(make("summary", "", "Parts"), ...PARTS.map((part) => dial({
    label: part[0].toUpperCase() + part.slice(1), name: `Strength of the ${part} of face ${index + 1}`,
    value: own.parts[part] ?? null, rest: own.strength ?? all.strength, unset: "as all",
    changed: (value) => {
      if (value === null) delete own.parts[part];
      else own.parts[part] = value;
      changed();
    },
  })));
  box.append(slider("Strength", "strength", all.strength, "as all"), slider("Detail", "detail", all.detail ?? 0.8, "as all"), parts);
  return box;
}

// The face as it stands in the result, or else in the photo.
function picture(photo, face, index) {
  const canvas = make("canvas");
  canvas.width = canvas.height = FRAME;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Face ${index + 1} of the photo`);
  const source = new Image();
  source.onload = () => {
    const scale = source.naturalWidth / photo.size[0];
    const [left, top, right, bottom] = face.box.map((value) => value * scale);
    const side = 1.25 * Math.max(right - left, bottom - top);
    const [x, y] = [(left + right - side) / 2, (top + bottom - side) / 2];
    canvas.getContext("2d").drawImage(source, x, y, side, side, 0, 0, FRAME, FRAME);
  };
  const address = photo.after ?? photo.before;
  if (address) source.src = address;
  return canvas;
}
