// The photo before and after, with a mark for each face.
import { make } from "./dials.js";

const byId = (id) => document.getElementById(id);

export function split(percent) {
  byId("split").value = String(percent);
  byId("stage").style.setProperty("--split", `${percent}%`);
}

export function zoom(full = byId("zoom").getAttribute("aria-pressed") !== "true") {
  byId("viewer").classList.toggle("full", full);
  byId("zoom").setAttribute("aria-pressed", String(full));
}

export function boxes(shown = byId("boxes").getAttribute("aria-pressed") !== "true") {
  byId("marks").classList.toggle("none", !shown);
  byId("boxes").setAttribute("aria-pressed", String(shown));
}

export function show(photo) {
  for (const [id, word, address] of [["before", "before", photo.before], ["after", "after", photo.after]]) {
    const picture = byId(id);
    picture.alt = `${photo.file.name}, ${word}`;
    picture.hidden = !address;
    if (!address) picture.removeAttribute("src");
    else if (picture.src !== address) picture.src = address;
  }
  const [width, height] = photo.size ?? [3, 2];
  const stage = byId("stage");
  stage.style.setProperty("--ratio", String(width / height));
  stage.style.setProperty("--wide", photo.size ? `${width}px` : "100%");
  byId("viewer").hidden = !photo.before;
  for (const id of ["stage", "slide"]) byId(id).classList.toggle("single", !photo.after);
}

export function marks(photo, toggled) {
  const [width, height] = photo.size ?? [1, 1];
  const many = photo.faces.length > 9;
  byId("marks").classList.toggle("many", many);
  byId("marks").replaceChildren(...photo.faces.map((face, index) => {
    const [left, top, right, bottom] = face.box;
    const [high, tall] = [top < (many ? 0.06 : 0.12) * height, bottom - top > 0.3 * height];
    const mark = make("button", `mark${high ? (tall ? " inside" : " below") : ""}`);
    mark.type = "button";
    mark.append(make("span", "", String(index + 1)));
    mark.setAttribute("aria-label", `Face ${index + 1}`);
    Object.assign(mark.style, {
      left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`,
      width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%`,
    });
    mark.addEventListener("click", () => toggled(index));
    return mark;
  }));
  press(photo);
}

// Says which faces are on.
export function press(photo) {
  [...byId("marks").children].forEach((mark, index) => mark.setAttribute("aria-pressed", String(photo.chosen[index].on)));
}

export function listen() {
  byId("split").addEventListener("input", (event) => split(Number(event.target.value)));
  byId("zoom").addEventListener("click", () => zoom());
  byId("boxes").addEventListener("click", () => boxes());
  const stage = byId("stage");
  const drag = (event) => {
    if (!(event.buttons & 1) || event.target.closest(".mark")) return;
    const box = stage.getBoundingClientRect();
    split(Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width)));
  };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  stage.addEventListener("dragstart", (event) => event.preventDefault());
}
